"""Runs many commands of the Conan 2 client in one process, and says what they answered.

The file named by the first argument has a list of steps; a step is {"argv": [...]} for a command as
it is typed, or
{"pattern": ..., "query": ...} for the choice that upload and download make before they move
anything, on the remote "r". The answers go to the file named by the second argument, one per step:
{"answer": ...} or {"error": "..."}.
"""

import json
import os
import sys

from conan.api.conan_api import ConanAPI
from conan.api.model import ListPattern, MultiPackagesList
from conan.cli.cli import Cli


def ask(api, step):
    os.environ["ROUND"] = step.get("round", "")
    if "argv" in step:
        result = api.command.run(step["argv"])
        if not isinstance(result, dict):
            return None
        return {"graph": result["graph"].serialize()} if "graph" in result else result.get("results")
    pattern = ListPattern(step["pattern"], package_id="*")
    chosen = MultiPackagesList()
    chosen.add("r", api.list.select(pattern, step.get("query") or None, api.remotes.get("r")))
    return chosen.serialize()


def main(questions, answers):
    api = ConanAPI()
    Cli(api).add_commands()
    said = []
    with open(questions) as f:
        steps = json.load(f)
    for step in steps:
        try:
            said.append({"answer": ask(api, step)})
        except BaseException as e:
            said.append({"error": f"{type(e).__name__}: {e}"})
    with open(answers, "w") as f:
        json.dump(said, f)


main(*sys.argv[1:])
