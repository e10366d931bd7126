"""A stand-in for Stripe on this machine, for development, the demo and tests.

It speaks the part of Stripe's protocol that we use, with Stripe's documented test cards, and is as strict as
the original where it matters: refunds beyond the charge are refused, an idempotency key with other
parameters is an error, webhooks are signed and repeated until answered.

For the demo it is a bank as well: a page that says what a banking app says after the code was scanned, and
posts the notice that SePay posts when the money has arrived.

    python -m commerce.payments.simulator --port 12111 --market http://127.0.0.1:8000
"""
