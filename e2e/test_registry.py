"""Images to and from others: Debian's docker-registry serves, skopeo reads."""
import subprocess
import unittest

import naru
import small

REGISTRY = """version: 0.1
log: { level: error }
storage: { filesystem: { rootdirectory: %s } }
http: { addr: "127.0.0.1:%d" }
"""


class Registry(naru.Case):
    registry_port = naru.free_port()
    up_options = ("--allow-registry", f"127.0.0.1:{registry_port}")

    @classmethod
    def prepare(cls):
        config = cls.platform.work / "registry.yml"
        config.write_text(REGISTRY % (cls.platform.work / "registry", cls.registry_port))
        cls.registry = subprocess.Popen(["docker-registry", "serve", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        naru.wait_until(lambda: naru.fetch(f"http://127.0.0.1:{cls.registry_port}/v2/")[0] == 200, "the registry answers")
        cls.port = naru.free_port()
        cls.app = naru.App(cls.platform, "shop", small.web_only(cls.port))
        cls.app.push()
        cls.app.wait_live(1)

    @classmethod
    def tearDownClass(cls):
        registry = getattr(cls, "registry", None)
        if registry is not None:
            registry.kill()
            registry.wait()
        super().tearDownClass()

    def test_1_skopeo_reads_our_layout_and_the_registry_takes_what_it_finds(self):
        [image] = [i for i in self.platform.naru_json("image", "ls")["images"] if "shop/web" in i["reference"]]
        layout = f"oci:{self.platform.data}/images:{image['reference']}"
        inspected = naru.json.loads(naru.run(["skopeo", "inspect", layout]).stdout)
        self.assertEqual(inspected["Digest"], image["manifest"])
        for name in ("tools/web:1", "tools/other:2"):
            naru.run(["skopeo", "copy", "--dest-tls-verify=false", layout, f"docker://127.0.0.1:{self.registry_port}/{name}"])

    def test_2_an_image_is_pulled_by_name_and_keeps_its_digest(self):
        reference = f"127.0.0.1:{self.registry_port}/tools/other:2"
        self.platform.naru("image", "pull", reference)
        pulled = {i["reference"]: i["manifest"] for i in self.platform.naru_json("image", "ls")["images"]}
        served = naru.json.loads(naru.run(["skopeo", "inspect", "--tls-verify=false", f"docker://{reference}"]).stdout)["Digest"]
        self.assertEqual(pulled[reference], served)
        self.assertIn("server.pl", self.platform.naru("image", "history", reference).stdout)
        self.platform.naru("image", "rm", reference)
        self.assertNotIn(reference, self.platform.naru("image", "ls").stdout)

    def test_3_a_service_with_image_runs_what_the_registry_has(self):
        port = naru.free_port()
        reference = f"127.0.0.1:{self.registry_port}/tools/web:1"
        app = naru.App(self.platform, "pulled", {"compose.yaml": f'services:\n  web:\n    image: {reference}\n    ports: ["{port}:8080"]\n    environment: {{ TEXT: pulled }}\n'})
        app.push()
        app.wait_live(1)
        self.assertEqual(naru.fetch(f"http://127.0.0.1:{port}/")[2], b"pulled\n")

    def test_4_what_the_registry_has_not_is_refused_with_its_name(self):
        done = self.platform.naru("image", "pull", f"127.0.0.1:{self.registry_port}/tools/nothing:9", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assert_says(done.stdout, "tools/nothing", "hint:")

    def test_5_a_docker_schema_2_manifest_is_read(self):
        [image] = [i for i in self.platform.naru_json("image", "ls")["images"] if "shop/web" in i["reference"]]
        layout = f"oci:{self.platform.data}/images:{image['reference']}"
        reference = f"127.0.0.1:{self.registry_port}/tools/docker:2"
        naru.run(["skopeo", "copy", "--format", "v2s2", "--dest-tls-verify=false", layout, f"docker://{reference}"])
        self.platform.naru("image", "pull", reference)
        self.assertIn("server.pl", self.platform.naru("image", "history", reference).stdout)

    def test_6_a_push_reaches_nothing_else_on_this_machine(self):
        closed = naru.free_port()
        app = naru.App(self.platform, "spy", {"compose.yaml": "services: {}\n"})
        said, hints = [], []
        for port in (self.platform.port, self.platform.gateway_port, closed):
            place = f"127.0.0.1:{port}"
            app.write({"compose.yaml": f"services:\n  web:\n    image: {place}/a/b:1\n"})
            app.commit(place)
            lines = app.push(check=False).stdout.split("[web]", 1)[1].splitlines()
            said.append(lines[0].replace(place, "PLACE"))
            hints.append("\n".join(lines[1:]).replace(place, "PLACE"))
        self.assert_says(said[0], "PLACE: a push may not pull from this machine")
        self.assertEqual(len(set(said)), 1, said)
        for hint in hints:
            self.assert_says(hint, "naru up --allow-registry PLACE")


if __name__ == "__main__":
    unittest.main()
