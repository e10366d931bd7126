"""The demo's other networks: the stand-ins of Facebook and YouTube, where the commune is live too and a few
people talk and order by comment. Everything said there is made up.

    python -m catalog_seed.neighbours --port 12112 --file DATA/networks.json

What owners agreed to is kept in the file, so that a restart does not look as if they had taken it back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from pathlib import Path

import uvicorn

from catalog_seed import chatter
from commerce.live.networks import Account, Tokens
from commerce.live.networks.simulator.server import create_simulator
from commerce.live.networks.simulator.state import Networks, Token, Video

PAGE, CHANNEL = "7001", "UC8001"
PAGE_NAME, CHANNEL_NAME = "Xã Ea Knuếc (minh hoạ)", "Ea Knuếc quê mình (minh hoạ)"
ACCOUNTS = {
    "facebook": Account(PAGE, PAGE_NAME, Tokens("demo-page")),
    "youtube": Account(CHANNEL, CHANNEL_NAME, Tokens("", "demo-refresh")),
}
"""What the demo's office has connected."""
CODES = (("A1", "kg"), ("A2", "kg"), ("B1", "kg"), ("B2", "kg"), ("B4", "piece"))
PHONES = "09000007{:02}"  # 0900 numbers are not given to anybody
EVERY_S = {"facebook": 7.0, "youtube": 13.0}


async def talk(world: Networks, video: Video, every_s: float, dice: random.Random) -> None:
    """For ever: remarks, now and then an order; ever more people are shown the video."""
    while True:
        await asyncio.sleep(dice.expovariate(1 / every_s))
        name = dice.choice(chatter.NAMES)
        if dice.random() < 0.3:
            code, unit = dice.choice(CODES)
            phone = PHONES.format(dice.randrange(100))
            said = chatter.comment_order(dice, code, unit, dice.randint(1, 4), phone)
        else:
            said = chatter.remark(dice)
        world.say(video, said, name)
        video.views += dice.randint(1, 9)
        video.reach += dice.randint(3, 40)


def remind(world: Networks, file: Path | None) -> None:
    if file is not None and file.exists():
        for token, (kind, of) in json.loads(file.read_text(encoding="utf-8")).items():
            world.tokens[token] = Token(kind, of)


def remember(world: Networks, file: Path | None) -> None:
    if file is None:
        return
    known = {token: [one.kind, one.of] for token, one in world.tokens.items() if one.ends_at == float("inf")}
    file.write_text(json.dumps(known), encoding="utf-8")


async def run(port: int, host: str, file: Path | None) -> None:
    world = Networks()
    page, channel = world.add_page(PAGE, PAGE_NAME), world.add_channel(CHANNEL, CHANNEL_NAME)
    world.grant("page", PAGE, token="demo-page")  # noqa: S106 - of a stand-in
    world.grant("refresh", CHANNEL, token="demo-refresh")  # noqa: S106
    remind(world, file)
    videos = {"facebook": world.go_live(page), "youtube": world.go_live(channel)}
    dice = random.Random(7)  # noqa: S311 - made-up talk
    config = uvicorn.Config(create_simulator(world), host=host, port=port, log_level="warning")
    talking = [
        asyncio.create_task(talk(world, videos[name], every_s, dice)) for name, every_s in EVERY_S.items()
    ]
    try:
        await uvicorn.Server(config).serve()
    finally:
        for task in talking:
            task.cancel()
        remember(world, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=12112)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--file", type=Path)
    given = parser.parse_args()
    asyncio.run(run(given.port, given.host, given.file))


if __name__ == "__main__":
    main()
