"""Close a WebSocket that sends what API Gateway refuses.

API Gateway closes with 1003 for a binary frame, and with 1009 for a frame above 32 KB or a message
above 128 KB (developer guide, quotas and binary media types). MiniStack 1.5.33 takes all that
uvicorn gives it, which are whole messages, so frames are counted here, in uvicorn's protocol. The
engine's process gives this class to uvicorn. It can go when MiniStack refuses them itself.
"""

from typing import Final

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events

from hangup.core.limits import MAX_FRAME_BYTES, MAX_MESSAGE_BYTES

UNSUPPORTED_DATA: Final = 1003
MESSAGE_TOO_BIG: Final = 1009


class FrameLimits(WSProtocol):
    """uvicorn's WebSocket protocol with API Gateway's limits."""

    _frame_bytes = 0
    """Bytes so far of the frame that is being received; a frame may come in parts."""

    def handle_message(self, event: events.TextMessage | events.BytesMessage) -> None:
        """Pass a part of a message on, or close the connection because of it."""
        if isinstance(event, events.BytesMessage):
            self._refuse(UNSUPPORTED_DATA, "binary frames are not supported")
            return
        self._frame_bytes += len(event.data.encode())
        message_bytes = self.buffer.length + len(event.data.encode())
        if self._frame_bytes > MAX_FRAME_BYTES:
            self._refuse(MESSAGE_TOO_BIG, f"a frame may have {MAX_FRAME_BYTES} bytes at most")
        elif message_bytes > MAX_MESSAGE_BYTES:
            self._refuse(MESSAGE_TOO_BIG, f"a message may have {MAX_MESSAGE_BYTES} bytes at most")
        else:
            if event.frame_finished:
                self._frame_bytes = 0
            super().handle_message(event)

    def _refuse(self, code: int, reason: str) -> None:
        """Send a close frame, and end the connection when the client answers or time is up.

        Not at once: the rest of the frame may be on its way. The system answers bytes that come
        after the end with a reset, and then the client does not see the code.
        """
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.transport.is_closing():
            return
        self.transport.write(self.conn.send(events.CloseConnection(code=code, reason=reason)))
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
