from __future__ import annotations

import click
import uvicorn

from commerce.live.networks.simulator.server import create_simulator
from commerce.live.networks.simulator.state import Networks


@click.command()
@click.option("--port", type=int, default=12112, show_default=True)
@click.option("--page", default="Trang thử", show_default=True, help="Name of the Facebook Page.")
@click.option("--channel", default="Kênh thử", show_default=True, help="Name of the YouTube channel.")
def main(port: int, page: str, channel: str) -> None:
    """Run the stand-ins for Facebook and YouTube, each with one owner who is live; prints the setting."""
    world = Networks()
    world.go_live(world.add_page("7001", page))
    world.go_live(world.add_channel("UC8001", channel))
    click.echo(f"CHOPHIEN_NETWORKS_STAND_IN=http://127.0.0.1:{port}")
    uvicorn.run(create_simulator(world), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
