"""results.json: every run as it was measured, written after each one. A series that was interrupted
goes on where it stopped."""
import datetime
import json
import os
import pathlib
import platform
import subprocess

IDENTITY = ("model", "size", "batch", "width", "threads", "side", "variant", "kind", "round")


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.lower().startswith(("model name", "hardware", "cpu model")):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def has_bf16():
    """Whether the processor multiplies bf16 numbers."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(text.split()))


def memory_total_mb():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6)


def machine(program):
    """What the figures depend on, apart from the options."""
    doctor = subprocess.run([str(program), "doctor", "--json"], stdout=subprocess.PIPE, text=True,
                            check=True)
    bitprop = json.loads(doctor.stdout)
    return {"cpu": cpu_model(), "processors": len(os.sched_getaffinity(0)),
            "bf16": has_bf16(), "memory_mb": memory_total_mb(),
            "system": platform.system() + " " + platform.machine(),
            **{"bitprop_" + name: bitprop[name]
               for name in ("version", "commit", "compiler", "best_tier", "fp32")}}


class Results:
    def __init__(self, path, header, fresh):
        """header: {"machine": ..., "settings": ...}; runs of another header do not mix with it."""
        self.path = pathlib.Path(path)
        self.data = {**header, "runs": []}
        if self.path.exists() and not fresh:
            old = json.loads(self.path.read_text(encoding="utf-8"))
            for part, name, value in ((p, n, v) for p in header for n, v in header[p].items()):
                if old.get(part, {}).get(name) != value:
                    raise SystemExit("%s has %s '%s', now it is '%s'; use --fresh to begin anew or "
                                     "--out for another folder"
                                     % (self.path, name, old.get(part, {}).get(name), value))
            self.data = old
        self.index = {self.identity(run): run for run in self.data["runs"]}

    @staticmethod
    def identity(run):
        return tuple(run.get(name) for name in IDENTITY)

    def find(self, identity):
        return self.index.get(self.identity(identity))

    def drop_failed(self):
        self.data["runs"] = [run for run in self.data["runs"] if "failed" not in run]
        self.index = {self.identity(run): run for run in self.data["runs"]}

    def add(self, identity, figures):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        run = {**figures, **{name: identity.get(name) for name in IDENTITY}, "date": now}
        self.data["runs"].append(run)
        self.index[self.identity(run)] = run
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.data, indent=1) + "\n", encoding="utf-8")
        partial.replace(self.path)
        return run
