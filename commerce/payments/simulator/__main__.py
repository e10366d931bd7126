from __future__ import annotations

import os

import click
import uvicorn

from commerce.payments.simulator.server import create_simulator


@click.command()
@click.option("--port", type=int, default=12111, show_default=True)
@click.option("--webhook", required=True, help="Where notices go: http://…/webhooks/stripe")
@click.option("--unruly", is_flag=True, help="Tell everything twice and out of order.")
def main(port: int, webhook: str, unruly: bool) -> None:
    """Run the stand-in for Stripe. The signing secret is CHOPHIEN_STRIPE_WEBHOOK_SECRET."""
    secret = os.environ.get("CHOPHIEN_STRIPE_WEBHOOK_SECRET", "")
    if not secret:
        raise click.ClickException("CHOPHIEN_STRIPE_WEBHOOK_SECRET is not set.")
    app = create_simulator(base=f"http://127.0.0.1:{port}", webhook_url=webhook, secret=secret, unruly=unruly)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
