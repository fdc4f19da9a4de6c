"""`transmodal doctor`: what this machine has, and what would be missing."""

from typing import Annotated

import typer

EXAMPLES = """
[bold]Examples[/bold]

  transmodal doctor

  transmodal doctor --json
"""


def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False) -> None:
    """Show versions, processor, memory, GPU, caches and optional parts of this installation."""
    import json

    checks = _checks()
    if as_json:
        typer.echo(json.dumps({name: {"ok": ok, "found": found} for name, ok, found in checks}, indent=2))
    else:
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        table = Table(box=None)
        for column in ("", "what", "found"):
            table.add_column(column)
        for name, ok, found in checks:
            table.add_row("[green]✓[/]" if ok else "[yellow]–[/]", name, escape(found))
        Console().print(table)


def _checks() -> list[tuple[str, bool, str]]:
    import importlib.util
    import platform
    import shutil

    import psutil
    import torch

    import transmodal
    from transmodal.datasets.cache import default_cache
    from transmodal.training.recipe_loading import shipped_recipes

    memory = psutil.virtual_memory()
    cache = default_cache()
    cached = sum(file.stat().st_size for file in cache.glob("*")) if cache.exists() else 0
    there = cache if cache.exists() else next(parent for parent in cache.parents if parent.exists())
    capability = torch.backends.cpu.get_cpu_capability()
    gpu = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else "none that torch can use; training runs on the CPU"
    )
    extras = {"studio": "fastapi", "cluster": "ray", "export": "onnx"}
    found = [name for name, module in extras.items() if importlib.util.find_spec(module)]
    return [
        ("transmodal", True, transmodal.__version__),
        ("Python", True, platform.python_version()),
        ("torch", True, f"{torch.__version__}, {torch.get_num_threads()} threads, {capability}"),
        ("GPU", torch.cuda.is_available(), gpu),
        ("memory", memory.available > 4e9, f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free"),
        ("prepared-image cache", True, f"{cache}: {cached / 1e9:.2f} GB used, "
         f"{shutil.disk_usage(there).free / 1e9:.0f} GB free on its disk"),
        ("shipped recipes", True, ", ".join(shipped_recipes())),
        ("extras", bool(found), ", ".join(found) or "none (pip install 'transmodal[studio,export,cluster]')"),
    ]  # fmt: skip
