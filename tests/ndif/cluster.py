"""A real NDIF host on this machine, without a GPU: redis, an object store, a hub of one model, Ray, ndif's services.

Its processes come from an environment of their own (`CAA_NDIF_VENV`), listen on 127.0.0.1 alone, and carry a mark in
their environment, by which they are ended, whatever Ray has made of them.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from pathlib import Path

from tests.helpers.waiting import until

THERE = Path(__file__).parent / "there"
MARK = "CAA_TEST_CLUSTER"
NAME = "local/embedded"
KEY = "0c000000-0000-4000-8000-00000000caa0"
REDIS, STORE, HUB, RAY, CLIENT, API = 27379, 27900, 27700, 27385, 27001, 27801
SECONDS = 180


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

    @property
    def hub(self) -> str:
        return f"http://127.0.0.1:{HUB}"

    def start(self) -> None:
        self.run.mkdir(parents=True, exist_ok=True)
        redis = shutil.which("redis-server")
        assert redis, "redis-server is needed: apt-get install redis-server"
        keep = ["--save", "", "--appendonly", "no", "--dir", str(self.run)]
        self._begin("redis", redis, "--bind", "127.0.0.1", "--port", str(REDIS), *keep)
        self._begin("hub", self._bin("python"), "-m", "cpu_host.hub", str(HUB), NAME, str(self.folder))
        self._begin("store", self._bin("moto_server"), "-H", "127.0.0.1", "-p", str(STORE))
        self._finish("ray", self._bin("ray"), *self._ray(), NDIF_SERVICE="ray")
        controller = "ndif.services.ray.deployments.controller.controller"
        self._finish(
            "controller", self._bin("python"), "-m", controller, NDIF_SERVICE="ray", RAY_ADDRESS=f"127.0.0.1:{RAY}"
        )
        self.start_api()

    def start_api(self) -> None:
        """Bring ndif's API up, with its dispatcher, and wait until it has found Ray."""
        config = ["--config", "python:ndif.services.api.gunicorn_conf", "--bind", f"127.0.0.1:{API}"]
        self.api = self._begin(
            "api", self._bin("gunicorn"), *config, "--no-control-socket", "cpu_host.keyed:app", NDIF_SERVICE="api"
        )
        self.until(lambda: self._says("/connected"), "the API has not found Ray")

    def kill_api(self) -> None:
        """End the API at once, and all that belongs to it, as a crash would."""
        assert self.api
        os.killpg(self.api.pid, signal.SIGKILL)
        self.api.wait()
        self.until(lambda: not self._says("/ping"), "the API goes on")

    def stop(self) -> None:
        """End all that was begun, and all that carries the mark, which redis writes its title over."""
        for process in self.begun:
            process.kill()
            process.wait()
        self.until(self._have_ended, "some of the host's processes go on")
        shutil.rmtree(self.run / "ray", ignore_errors=True)

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        until(condition, otherwise=f"{otherwise}; logs lie in {self.run}")

    def _have_ended(self) -> bool:
        """Whether nothing carries the mark any more; what does is ended."""
        marked = self._marked()
        for process in marked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        return not marked

    def _ray(self) -> list[str]:
        resources = '{"head": 10, "cuda_memory_bytes": 8000000000, "cpu_memory_bytes": 8000000000}'
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
        given = ["start", "--head", "--node-ip-address=127.0.0.1", "--num-cpus=4", "--num-gpus=1"]
        given += [f"--resources={resources}", "--object-store-memory=200000000", "--disable-usage-stats"]
        given += ["--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--temp-dir={self.run / 'ray'}"]
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
            "NDIF_DEFAULT_EXECUTION_TIMEOUT_SECONDS": "120",
            "NDIF_CONTROLLER_SYNC_INTERVAL_S": "5",
            "NDIF_STATUS_TTL_S": "2",
            "HF_ENDPOINT": self.hub,
            "HF_HOME": str(self.run / "huggingface"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # every port on 127.0.0.1
            "RAY_DISABLE_IMPORT_WARNING": "1",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
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

    def _marked(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if f"{MARK}={self.mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
            except OSError:  # it has ended meanwhile, or is somebody else's
                pass
        return found
