"""A group chat with Django Channels and channels_redis: the server that bench/src/engines.rs compares with.

It does what the chat of Channels' tutorial does, and no more: each socket is in the group of its room, a text
`{"message": ...}` goes to the group, and each socket sends `{"message": ...}`. Sessions, users and the check of the
origin, which the tutorial has around it, are left out. The first argument is the port of Redis.
"""

import json
import socket
import sys

import django
import uvicorn
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import re_path

settings.configure(
    SECRET_KEY="of a measurement",
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [("127.0.0.1", int(sys.argv[1]))]},
        }
    },
)
django.setup()


class RoomMember(AsyncWebsocketConsumer):
    """One socket in a room."""

    async def connect(self):
        self.group = "room_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(self.group, {"type": "room.message", "message": message})

    async def room_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


application = ProtocolTypeRouter(
    {"websocket": URLRouter([re_path(r"^ws/chat/(?P<room>\w+)/$", RoomMember.as_asgi())])}
)

listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
print(f"listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
uvicorn.Server(uvicorn.Config(application, log_level="error", lifespan="off")).run(sockets=[listener])
