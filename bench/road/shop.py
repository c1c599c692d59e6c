"""examples/shop on a Naru: built once, for all measurements that need it."""
import re
import sys

import naru

SHOP = naru.ROOT / "examples/shop"


class Shop:
    def __init__(self, world):
        self.port = naru.free_port()
        self.platform = world.platform()
        print("bench: building the shop: six services, packages are installed", file=sys.stderr, flush=True)
        self.app = naru.App.copy(self.platform, SHOP, "shop", [('published: "8000"', f'published: "{self.port}"')])
        self.app.push(timeout=1200)
        self.app.wait_live(1, 180)
        self.releases = 1

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def get(self, path):
        status, _, body = naru.fetch(self.url.rstrip("/") + path)
        if status != 200:
            raise naru.Failed(f"the shop answers {status}: {body[:200]!r}")
        return body

    def release(self, fail_percent):
        """Pushes a new web that fails this share of its requests."""
        self.releases += 1
        path = self.app.folder / "web/Dockerfile"
        text = re.sub(r"^ARG RELEASE=.*", f"ARG RELEASE={self.releases}", path.read_text(), flags=re.M)
        path.write_text(re.sub(r"^ARG FAIL_PERCENT=.*", f"ARG FAIL_PERCENT={fail_percent}", text, flags=re.M))
        self.app.commit(f"{fail_percent}% fail")
        self.app.push()
        return self.app.newest_version()
