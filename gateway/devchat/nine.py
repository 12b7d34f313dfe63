"""What has Rocket.Chat announced for version 9? The stand-in does it all once its `version` says 9."""

REMOVED_METHODS = frozenset(
    (
        *("getRoomIdByNameOrId", "getRoomNameById", "joinRoom", "leaveRoom", "loadMissedMessages"),
        # Of these the announcements differ, or the newest sources no longer have them. Who can do without loses nothing.
        *("createDirectMessage", "createChannel", "createPrivateGroup", "setReaction"),
    )
)
"""Methods over the socket, and over REST's `method.call`, that are answered as unknown."""
