"""Stand-ins for Facebook's Graph API and YouTube's Data API on this machine, for tests, development and demo.

They speak the part of both protocols that we use and are as strict as the originals where it matters:
rights, proof of the program's secret, cursors that end, error codes, allowances an hour and a day, tokens
that run out and are taken back, the page on which an owner says yes.

    python -m commerce.live.networks.simulator --port 12112

A market reads them with CHOPHIEN_NETWORKS_STAND_IN=http://127.0.0.1:12112.
"""

APP_SECRET = "app-secret"  # noqa: S105 - of a stand-in
