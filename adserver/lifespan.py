"""ASGI's lifespan of an app: it says when it serves, and why it never will."""

from typing import TYPE_CHECKING, Any

from adserver.building.builder import NotBuilt

if TYPE_CHECKING:
    from adserver.app import App


async def live(app: "App", receive: Any, send: Any) -> None:
    """From the server's first word to its last. ``app.unfit`` says why it did not begin."""
    await receive()
    try:
        await app.start()
    except (NotBuilt, OSError) as error:
        app.unfit = error
        app.close()
        await send({"type": "lifespan.startup.failed", "message": "there is nothing to serve"})
        return
    app.log.info("serving", url=app.settings.base_url, revision=app.world.snapshot.revision)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await app.stop()
    await send({"type": "lifespan.shutdown.complete"})
