from __future__ import annotations

import os
from pathlib import Path

import click
import uvicorn

from commerce.payments.simulator.server import create_simulator
from commerce.payments.simulator.state import Books

TEST_MODE_RATE = 25  # requests a second that Stripe's test mode takes


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=12111, show_default=True)
@click.option("--market", required=True, help="Who is told: http://… of a market.")
@click.option(
    "--connected", default="acct_", show_default=True, help="Accounts that begin so let us act for them."
)
@click.option(
    "--file", type=click.Path(path_type=Path, dir_okay=False), help="Keeps what happened over restarts."
)
@click.option("--unruly", is_flag=True, help="Tell everything twice and out of order.")
def main(host: str, port: int, market: str, connected: str, file: Path | None, unruly: bool) -> None:
    """Run the stand-in for Stripe. The signing secret is CHOPHIEN_STRIPE_WEBHOOK_SECRET."""
    secret = os.environ.get("CHOPHIEN_STRIPE_WEBHOOK_SECRET", "")
    if not secret:
        raise click.ClickException("CHOPHIEN_STRIPE_WEBHOOK_SECRET is not set.")
    app = create_simulator(
        base=os.environ.get("CHOPHIEN_STAND_IN") or f"http://{host}:{port}",
        webhook_url=f"{market}/webhooks/stripe",
        bank_url=f"{market}/webhooks/sepay",
        secret=secret,
        unruly=unruly,
        books=Books(prefix=connected, file=file),
        rate=TEST_MODE_RATE,
    )
    uvicorn.run(app, host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
