"""How is this process watched? What its log lines are about, what its loops beat, what it counts, where it tells so.

Knows nothing of the rest of Nexus, so that all of it may use this.
"""

from gateway.watch.beats import Beats

BEATS = Beats()
"""Of this process. Loops that must go on name themselves here."""
