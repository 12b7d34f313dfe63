"""From an invocation's chunks to the texts of its chat messages: pure, incremental, without clock or socket."""

from runtime.reply.card import Spent, duration, one_line, preparing, sentence, sentences
from runtime.reply.cleaning import clean
from runtime.reply.fold import MAX_PARTS, Ending, Reply
from runtime.reply.markup import Names, harmless
from runtime.reply.splitting import PART_LIMIT, units

__all__ = [
    "MAX_PARTS",
    "PART_LIMIT",
    "Ending",
    "Names",
    "Reply",
    "Spent",
    "clean",
    "duration",
    "harmless",
    "one_line",
    "preparing",
    "sentence",
    "sentences",
    "units",
]
