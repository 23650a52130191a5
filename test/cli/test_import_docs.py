"""What docs/bundles.md says about `perception_ros import` is what the command has."""

from __future__ import annotations

from pathlib import Path
import re
import shlex

import typer
from typer.main import get_command

from perception_ros.bundles.families import ALIASES, FAMILIES
from perception_ros.cli.import_model import import_

PAGE = (Path(__file__).resolve().parents[2] / 'docs' / 'bundles.md').read_text(encoding='utf-8')


def command() -> typer.core.TyperCommand:
    app = typer.Typer(add_completion=False)
    app.command()(import_)
    return get_command(app)


def flags() -> set[str]:
    return {name for item in command().params for name in item.opts if name.startswith('--')}


def examples() -> list[list[str]]:
    text = PAGE.replace(' \\\n', ' ')
    lines = re.findall(r'^\$ perception_ros import (.*)$', text, re.M)
    return [shlex.split(line) for line in lines]


def test_every_flag_is_documented() -> None:
    section = PAGE[PAGE.index('### The flags'):PAGE.index('### What is done to the graph')]
    assert flags() - set(re.findall(r'--[a-z-]+', section)) <= {'--help', '--output'}


def test_every_family_has_an_example() -> None:
    known = set(FAMILIES) | set(ALIASES)
    named = set()
    for words in examples():
        named |= {ALIASES.get(name, name) for name in known
                  if any(name.replace('-', '') in word.lower() for word in words)}
    assert named >= set(FAMILIES)


def test_examples_parse() -> None:
    assert len(examples()) > 10
    for words in examples():
        command().make_context('import', list(words), resilient_parsing=False)
