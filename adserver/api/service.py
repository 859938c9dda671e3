"""What the connections of one server share."""

from msgspec import Struct

from adserver.api.asgi import Application
from adserver.api.deadlines import Deadlines, Watch
from adserver.api.hot import HotRoutes
from adserver.api.row import Row


class Service(Struct, frozen=True):
    """``routes``: what is answered here; None: all is ASGI's."""

    application: Application
    routes: HotRoutes | None
    deadlines: Deadlines
    watch: Watch
    row: Row
