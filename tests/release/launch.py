"""What release/launch prints: links that a browser, CloudFormation and the template take.

    python3 tests/release/launch.py
"""

import json
import re
import subprocess
import sys
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = re.search(r'^version = "(.+)"', (ROOT / "Cargo.toml").read_text(), re.M)[1]  # type: ignore[index]
TEMPLATES = {"template.yaml": ROOT / "template.yaml", "registry.yaml": ROOT / "templates/registry.yaml"}


def launch(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "release/launch", *words], capture_output=True, text=True, check=False)


def links(*words: str) -> list[urllib.parse.SplitResult]:
    run = launch(*words)
    assert run.returncode == 0, run.stderr
    return [urllib.parse.urlsplit(link) for link in re.findall(r"\[launch\]\(([^)\s]+)\)", run.stdout)]


def regions_have_links_to_both_templates(regions: list[str], console: str, storage: str) -> None:
    """In the region's console, from the bucket in the first one."""
    found = links("my-bucket", *regions)
    assert len(found) == 2 * len(regions), found
    prefix = launch("--prefix").stdout.strip()
    assert prefix == f"soci-index-builder/v{VERSION}", prefix
    for number, link in enumerate(found):
        region = regions[number // 2]
        assert link.netloc == f"{region}.{console}" and link.path == "/cloudformation/home", link
        assert link.query == f"region={region}", link
        page, _, query = link.fragment.partition("?")
        assert page == "/stacks/create/review", page
        values = {name: value for name, [value] in urllib.parse.parse_qs(query, strict_parsing=True).items()}
        place, _, name = values.pop("templateURL").rpartition("/")
        assert place == f"https://my-bucket.s3.{regions[0]}.{storage}/{prefix}", place
        template = TEMPLATES[name].read_text()
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9-]{0,127}", values.pop("stackName"))
        # CloudFormation passes over a parameter that the template does not have.
        assert sorted(values) == (["param_ImageUri"] if name == "template.yaml" else []), values
        for parameter, value in values.items():
            declared = re.search(rf'^  {parameter[6:]}:\n(?:    .*\n)*?    AllowedPattern: (".*")$', template, re.M)
            assert declared and re.fullmatch(json.loads(declared[1]), value), f"{parameter} is {value}"


def in_aws() -> None:
    regions_have_links_to_both_templates(["eu-west-1", "us-east-1"], "console.aws.amazon.com", "amazonaws.com")


def in_china() -> None:
    regions_have_links_to_both_templates(["cn-north-1"], "console.amazonaws.cn", "amazonaws.com.cn")


def in_govcloud() -> None:
    regions_have_links_to_both_templates(["us-gov-west-1"], "console.amazonaws-us-gov.com", "amazonaws.com")


def in_the_european_sovereign_cloud() -> None:
    regions_have_links_to_both_templates(["eusc-de-east-1"], "console.amazonaws-eusc.eu", "amazonaws.eu")


def mistakes_are_refused() -> None:
    for words in ([], ["bucket"], ["my.bucket", "eu-west-1"], ["My", "eu-west-1"], ["bucket", "Europe"], ["bucket", "us-iso-east-1"],
                  ["bucket", "eu-west-1", "cn-north-1"]):
        run = launch(*words)
        assert run.returncode == 2 and "usage" in run.stderr and not run.stdout, words


def the_copy_is_a_command_of_the_program() -> None:
    """The tag is that of the link, and the image the released one."""
    text = launch("my-bucket", "cn-north-1").stdout
    image = subprocess.run([ROOT / "release/origin", "--image"], capture_output=True, text=True, check=True).stdout.strip()
    place = f"ACCOUNT.dkr.ecr.REGION.amazonaws.com.cn/soci-index-builder:{VERSION}-x86_64"
    assert f"`soci-index-builder copy {image}:{VERSION} {place} --platform linux/amd64`" in text, text


def main() -> int:
    failed = 0
    for case in (in_aws, in_china, in_govcloud, in_the_european_sovereign_cloud, mistakes_are_refused, the_copy_is_a_command_of_the_program):
        try:
            case()
            print(f"ok  launch links: {case.__name__.replace('_', ' ')}")
        except AssertionError as error:
            failed += 1
            print(f"FAIL launch links: {case.__name__.replace('_', ' ')}\n    {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
