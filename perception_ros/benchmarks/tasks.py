"""Tasks from stdin, answers to stdout, one line of JSON each: the child's end of `process`."""

from __future__ import annotations

import json
import os
import sys
from typing import TextIO

from perception_ros.core.errors import PerceptionError


def serve(tasks: TextIO, answers: TextIO, worker: object) -> None:
    """Do each task, a method of the worker, and answer it, until there are no more."""
    for line in tasks:
        task = json.loads(line)
        try:
            answer = getattr(worker, task.pop('task'))(**task)
        except PerceptionError as error:
            answer = {'problem': str(error)}
        except Exception as error:  # of a runtime: one row is lost, and says why
            answer = {'problem': f'{type(error).__name__}: {error}'}
        answers.write(json.dumps(answer) + '\n')
        answers.flush()


def serve_stdin(worker: object) -> None:
    """Serve stdin to stdout; what a runtime prints goes to stderr."""
    with os.fdopen(os.dup(1), 'w', encoding='utf-8') as answers:
        os.dup2(2, 1)
        serve(sys.stdin, answers, worker)
