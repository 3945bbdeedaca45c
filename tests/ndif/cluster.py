"""A real NDIF host on this machine, without a GPU: redis, an object store, a hub of one model, Ray, ndif's services.

Its processes come from an environment of their own (`CAA_NDIF_VENV`), listen on 127.0.0.1 alone, and carry a mark in
their environment, by which they are ended, whatever Ray has made of them.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.helpers.waiting import Found, until

THERE = Path(__file__).parent / "there"
MARK, NODE = "CAA_TEST_CLUSTER", "CAA_TEST_NODE"
FIRST, SECOND = "first", "second"
NAME = "local/embedded"
KEY = "0c000000-0000-4000-8000-00000000caa0"
REDIS, STORE, HUB, RAY, CLIENT, API = 27379, 27900, 27700, 27385, 27001, 27801
SECOND_PORTS = {
    "metrics_agent_port": 27466,
    "metrics_export_port": 27081,
    "dashboard_agent_listen_port": 27465,
    "runtime_env_agent_port": 27467,
}
SECONDS = 900
# What a node says that its card has: room for one copy of the model in float32.
CARD = 1_000_000_000
# How long Ray's processes wait for each other: for what hangs, as a machine that has other work may take minutes.
PATIENCE = {
    "RAY_agent_register_timeout_ms": str(1000 * SECONDS),
    "RAY_worker_register_timeout_seconds": str(SECONDS),
    "RAY_gcs_server_port_wait_time_s": str(SECONDS),
    "RAY_gcs_server_request_timeout_seconds": str(SECONDS),
    "RAY_gcs_rpc_server_connect_timeout_s": str(SECONDS),
    "RAY_health_check_timeout_ms": "60000",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": str(SECONDS),
    "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": str(SECONDS),
}


def asking(home: str) -> dict[str, str]:
    """The environment of who asks the host's hub, before anything imports its client. home: for what they fetch."""
    return {"HF_ENDPOINT": f"http://127.0.0.1:{HUB}", "HF_HUB_DISABLE_XET": "1", "HF_HOME": home}


class Cluster:
    """The host, from `start` to `stop`. folder: of the model; run: where logs and Ray's files lie."""

    def __init__(self, folder: Path, run: Path):
        self.folder, self.run, self.mark = folder, run, uuid.uuid4().hex
        self.bin = Path(os.environ["CAA_NDIF_VENV"]) / "bin"
        self.api: subprocess.Popen[bytes] | None = None
        self.begun: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{API}"

    def start(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        redis = shutil.which("redis-server")
        assert redis, "redis-server is needed: apt-get install redis-server"
        keep = ["--save", "", "--appendonly", "no", "--dir", str(self.run)]
        self._begin("redis", redis, "--bind", "127.0.0.1", "--port", str(REDIS), *keep)
        self._begin("hub", self._bin("python"), "-m", "cpu_host.hub", str(HUB), NAME, str(self.folder))
        self._begin("store", self._bin("moto_server"), "-H", "127.0.0.1", "-p", str(STORE))
        self._finish("ray", self._bin("python"), "-m", "cpu_host.start", *self._ray(), NDIF_SERVICE="ray")
        controller = "ndif.services.ray.deployments.controller.controller"
        self._finish(
            "controller", self._bin("python"), "-m", controller, NDIF_SERVICE="ray", RAY_ADDRESS=f"127.0.0.1:{RAY}"
        )
        self.start_api()

    def start_api(self) -> None:
        """Bring ndif's API up, with its dispatcher, and wait until it says what it is asked before the first job, which
        it finds out now and keeps for a while.
        """
        config = ["--config", "python:ndif.services.api.gunicorn_conf", "--bind", f"127.0.0.1:{API}"]
        self.api = self._begin(
            "api", self._bin("gunicorn"), *config, "--no-control-socket", "cpu_host.keyed:app", NDIF_SERVICE="api"
        )
        first = "/connected", "/status", "/env"
        self.until(lambda: all(map(self._says, first)), "the API has not found Ray, or what runs on it")

    def kill_api(self) -> None:
        """End the API at once, and all that belongs to it, as a crash would."""
        assert self.api
        os.killpg(self.api.pid, signal.SIGKILL)
        self.api.wait()
        self.until(lambda: not self._says("/ping"), "the API goes on")

    def add_node(self, model_key: str) -> None:
        """A second node, and on it a second copy of a model that the first one runs, and has no more room for."""
        given = f"127.0.0.1:{RAY}", SECOND, json.dumps(_resources(SECOND)), json.dumps(SECOND_PORTS)
        self._finish("node", self._bin("python"), "-m", "cpu_host.node", *given, **{NODE: SECOND})
        self.until(lambda: self.nodes == 2, "the second node is not seen")
        asked = self.run / "copy.yaml"
        asked.write_text(json.dumps({"models": [{"checkpoint": NAME, "model_key": model_key}]}))
        self._finish("deploy", self._bin("ndif"), "deploy", "--file", str(asked))

    def kill_node(self) -> None:
        """End the second node at once, with all that runs on it."""
        self.until(lambda: not self._end(f"{NODE}={SECOND}"), "the second node goes on")

    @property
    def nodes(self) -> int:
        """How many the host knows of."""
        with urllib.request.urlopen(f"{self.address}/status", timeout=SECONDS) as answer:
            return len(json.load(answer)["cluster"]["nodes"])

    def worked(self) -> dict[str, float]:
        """Seconds of a processor that the model has had by now on each node."""
        found = dict.fromkeys((FIRST, SECOND), 0.0)
        for process in self._marked():
            folder = Path("/proc") / str(process)
            with contextlib.suppress(OSError):
                if b"CpuModelActor" in (folder / "cmdline").read_bytes():
                    second = f"{NODE}={SECOND}".encode() in (folder / "environ").read_bytes()
                    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                    found[SECOND if second else FIRST] += sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return found

    def stop(self) -> None:
        """End all that was begun, and all that carries the mark, which redis writes its title over."""
        for process in self.begun:
            process.kill()
            process.wait()
        self.until(lambda: not self._end(), "some of the host's processes go on")
        shutil.rmtree(self.run / "ray", ignore_errors=True)

    def until(self, condition: Callable[[], Found], otherwise: str) -> Found:
        return until(condition, SECONDS, every=0.2, otherwise=f"{otherwise}; logs lie in {self.run}")

    def _end(self, also: str = "") -> bool:
        """End what carries the mark, or that and another one. Whether there was any."""
        marked = self._marked(also)
        for process in marked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return bool(marked)

    def _ray(self) -> list[str]:
        resources = json.dumps({"head": 10, **_resources(FIRST)})
        ports = {
            "port": RAY,
            "ray-client-server-port": CLIENT,
            "object-manager-port": 27076,
            "node-manager-port": 27077,
            "dashboard-port": 27265,
            "dashboard-agent-grpc-port": 27366,
            "dashboard-agent-listen-port": 27365,
            "runtime-env-agent-port": 27367,
            "metrics-export-port": 27080,
            "min-worker-port": 27100,
            "max-worker-port": 27200,
        }
        given = ["start", "--head", "--node-ip-address=127.0.0.1", f"--node-name={FIRST}", "--num-cpus=4"]
        given += ["--num-gpus=1", f"--resources={resources}", "--object-store-memory=200000000"]
        given += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--temp-dir={self.run / 'ray'}"]
        given += ["--disable-usage-stats"]
        return given + [f"--{name}={port}" for name, port in ports.items()]

    def _environment(self, **more: str) -> dict[str, str]:
        address = f"http://127.0.0.1:{STORE}"
        own = {
            MARK: self.mark,
            "CAA_TEST_KEY": KEY,
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "PYTHONPATH": str(THERE),
            "NDIF_REDIS_URL": f"redis://127.0.0.1:{REDIS}",
            "NDIF_OBJECT_STORE_URL": address,
            "NDIF_OBJECT_STORE_ACCESS_KEY": "test",
            "NDIF_OBJECT_STORE_SECRET_KEY": "testtest",
            "NDIF_RAY_ADDRESS": f"ray://127.0.0.1:{CLIENT}",
            "NDIF_API_PORT": str(API),
            "NDIF_API_URL": self.address,
            "NDIF_DEFAULT_MODEL_ACTOR_CLASS": "cpu_host.model.CpuModelActor",
            "NDIF_CONTROLLER_IMPORT_PATH": "cpu_host.controller.ControllerActor",
            "NDIF_DEFAULT_DTYPE": "float32",
            "NDIF_DEFAULT_PADDING_BIAS": "0",
            "NDIF_AUTOSCALING_MAX_REPLICAS": "1",
            "NDIF_DEFAULT_EXECUTION_TIMEOUT_SECONDS": str(SECONDS),
            "NDIF_CONTROLLER_SYNC_INTERVAL_S": "5",
            "NDIF_STATUS_TTL_S": "10",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on 127.0.0.1
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "RAY_worker_niceness": "0",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
        own |= PATIENCE | asking(str(self.run / "huggingface"))
        dropped = {"VIRTUAL_ENV", "PYTHONHOME", "CAA_NDIF_VENV"}
        return {name: value for name, value in os.environ.items() if name not in dropped} | own | more

    def _bin(self, name: str) -> str:
        return str(self.bin / name)

    def _begin(self, name: str, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        with (self.run / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(**environment),
                start_new_session=True,
            )
        self.begun.append(process)
        return process

    def _finish(self, name: str, *command: str, **environment: str) -> None:
        status = self._begin(name, *command, **environment).wait(SECONDS)
        assert status == 0, f"{name} ended with {status}; see {self.run / name}.log"

    def _says(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}{path}", timeout=3) as answer:
                return answer.status == 200
        except (OSError, urllib.error.URLError):
            return False

    def _marked(self, also: str = "") -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                given = path.read_bytes()
                if f"{MARK}={self.mark}".encode() in given and also.encode() in given:
                    found.append(int(path.parent.name))
            except OSError:  # it has ended meanwhile, or is somebody else's
                pass
        return found


def _resources(name: str) -> dict[str, int]:
    """What a node says that it has, with the name by which ndif asks for it."""
    return {f"node:{name}": 1, "cuda_memory_bytes": CARD, "cpu_memory_bytes": CARD}
