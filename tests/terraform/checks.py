"""What can be said of the module without Terraform.

    python3 tests/terraform/checks.py [CLASSES]

What is generated is up to date, the cases give every parameter to the stack, and the stand-in for the provider declares
attributes as the real one does. CLASSES is the folder `lib` of the npm package @cdktf/provider-aws, which HashiCorp has
generated from the provider's own schemas: each attribute of each resource is in there, and whether it is required or
optional and of which type.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(HERE.parent / "aws"))
import resolve  # noqa: E402  pylint: disable=wrong-import-position

# As the classes and the stand-in have the same types.
TYPES = {
    ("simple", "string"): "string", ("simple", "boolean"): "bool", ("simple", "number"): "number",
    ("set", "stringList"): "set(string)", ("list", "stringList"): "list(string)", ("map", "stringMap"): "map(string)",
}
# What is only computed shows by how it is read.
READ = (
    (r"new cdktf\.StringMap\(this, \"{}\"\)", "map(string)"),
    (r"this\.getStringAttribute\('{}'\)", "string"),
    (r"cdktf\.Fn\.tolist\(this\.getListAttribute\('{}'\)\)", "set(string)"),
    (r"this\.getListAttribute\('{}'\)", "list(string)"),
    (r"this\.getNumberAttribute\('{}'\)", "number"),
    (r"this\.getBooleanAttribute\('{}'\)", "bool"),
)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class Published:
    """A resource, or a block in one, as its class has it."""

    def __init__(self, declarations: str, code: str, interface: str, function: str) -> None:
        self.code = code
        body = re.search(rf"export interface {interface}\b[^{{]*{{\n(.*?)\n}}", declarations, re.DOTALL)
        if body is None:
            raise KeyError(f"there is no interface {interface}")
        self.settable = {name: mark != "?" for name, mark in re.findall(r"^    readonly (\w+)(\??):", body[1], re.MULTILINE)}
        written = code[code.index(function):]
        self.types = {
            name: TYPES.get((kind, storage), f"{kind} of {storage}") for name, kind, storage in
            re.findall(r"^ +(\w+): {\n +value: .*\n +isBlock: \w+,\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"",
                       written[:written.index("\n    }\n" if function.startswith("    ") else "\n}\n")], re.MULTILINE)
        }

    def problems(self, described: dict[str, Any], where: str) -> list[str]:
        """How the stand-in differs, blocks left out."""
        found = []
        for name, text in described.items():
            if not isinstance(text, str):
                continue
            *words, kind = text.split()
            if words == ["computed"]:
                if camel(name) in self.settable:
                    found.append(f"{where}.{name} can be set")
                read = next((one for pattern, one in READ if re.search(pattern.format(name), self.code)), None)
                if read != kind:
                    found.append(f"{where}.{name} is {kind}, and {read} in the provider")
            elif camel(name) not in self.settable:
                found.append(f"{where}.{name} cannot be set")
            else:
                if self.settable[camel(name)] != ("required" in words):
                    found.append(f"{where}.{name} is {'optional' if 'required' in words else 'required'}")
                if self.types.get(name) != kind:
                    found.append(f"{where}.{name} is {kind}, and {self.types.get(name)} in the provider")
        found += [f"{where} lacks {name}, which is required" for name, required in self.settable.items()
                  if required and name not in map(camel, described)]
        return found


def published(classes: pathlib.Path, kind: str, name: str) -> tuple[Published, Published | None]:
    """A resource, and its block of timeouts if it has one."""
    short = name.removeprefix("aws_")
    folder = classes / ((("data-aws-" if kind == "data" else "") + short).replace("_", "-"))
    declarations, code = ((folder / file).read_text(encoding="utf-8") for file in ("index.d.ts", "index.js"))
    if f'"{name}"' not in declarations:
        raise KeyError(f"{folder} is not {name}")
    title = ("DataAws" if kind == "data" else "") + camel("_" + short)
    block = f"function {title[0].lower()}{title[1:]}TimeoutsToHclTerraform"
    timeouts = Published(declarations, code, f"{title}Timeouts", block) if block in code else None
    return Published(declarations, code, f"{title}Config", "    synthesizeHclAttributes() {"), timeouts


def differences(schema: dict[str, Any], classes: pathlib.Path) -> list[str]:
    """How the stand-in differs from what is published."""
    found = []
    for kind, resources in schema.items():
        for name, described in resources.items():
            try:
                whole, timeouts = published(classes, kind, name)
            except (OSError, KeyError) as error:
                found.append(str(error))
                continue
            found += whole.problems(described, f"{kind} {name}")
            for block, inner in described.items():
                if isinstance(inner, dict):
                    found += timeouts.problems(inner, f"{name}.{block}") if timeouts and block == "timeouts" else [
                        f"{name} has no block {block} that is known here"]
    return found


def spoiled(schema: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Schemas with one mistake each, and what is to be said of it."""
    stack, made = "aws_cloudformation_stack", []
    for name, text, expected in (
        ("capabilities", "required set(string)", f"resource {stack}.capabilities is optional"),
        ("capabilities", "optional map(string)", f"resource {stack}.capabilities is map(string), and set(string) in the provider"),
        ("outputs", "optional map(string)", f"resource {stack}.outputs cannot be set"),
        ("outputs", "computed string", f"resource {stack}.outputs is string, and map(string) in the provider"),
        ("template_uri", "optional string", f"resource {stack}.template_uri cannot be set"),
        ("name", None, f"resource {stack} lacks name, which is required"),
    ):
        changed = copy.deepcopy(schema)
        changed["resource"][stack][name] = text
        if text is None:
            del changed["resource"][stack][name]
        made.append((expected, changed))
    changed = copy.deepcopy(schema)
    changed["resource"][stack]["timeouts"]["read"] = "optional string"
    return [*made, (f"{stack}.timeouts.read cannot be set", changed)]


def given(case: str) -> set[str]:
    """The parameters that the run `every_parameter_arrives` compares."""
    text = (HERE / "cases" / case).read_text(encoding="utf-8")
    run = re.search(r'^run "every_parameter_arrives" {\n(.*?)^}', text, re.MULTILINE | re.DOTALL)
    assert run is not None
    return set(re.findall(r"^      ([A-Z]\w+) +=", run[1], re.MULTILINE))


def main() -> int:
    failed = passed = 0

    def check(name: str, problems: list[str]) -> None:
        nonlocal failed, passed
        print(f"{'FAIL' if problems else 'ok '} {name}")
        for problem in problems:
            print(f"    {problem}")
        failed, passed = failed + bool(problems), passed + (not problems)

    ran = subprocess.run([sys.executable, ROOT / "terraform" / "generate", "--check"], capture_output=True, text=True, check=False)
    check("variables and outputs are those of the templates", (ran.stderr or "it failed").splitlines() if ran.returncode else [])
    for case, template in (("module.tftest.hcl", "template.yaml"), ("registry.tftest.hcl", "templates/registry.yaml")):
        wanted = set(resolve.load(ROOT / template)["Parameters"])
        check(f"the cases give every parameter of {template}", sorted(f"{name} is not compared" for name in wanted ^ given(case)))
    size = (ROOT / "templates/registry.yaml").stat().st_size
    check("the repository's template fits into a request", [] if size <= 51200 else [f"it has {size} bytes"])
    if len(sys.argv) > 1:
        classes = pathlib.Path(sys.argv[1])
        schema = json.loads((HERE / "provider" / "schema.json").read_text(encoding="utf-8"))
        check("the stand-in declares what the provider does", differences(schema, classes))
        missed = [expected for expected, changed in spoiled(schema) if expected not in differences(changed, classes)]
        check("a stand-in that differs is found", [f"nothing says: {expected}" for expected in missed])
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
