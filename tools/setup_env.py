#!/usr/bin/env python3
"""
Makes the virtual environments that the make targets run in, and says what is missing.

With a ROS 2 distribution sourced, ``.venv`` lies on top of it. Without one, ``.venv`` holds ROS 2
itself from wheels, and vision_msgs and tf2_msgs are built against them. Each step leaves a stamp
of what it was made from, written last: a second run does nothing, an interrupted one goes on where
it stopped.

Only the standard library is used here, for this runs before there is anything else.
"""

import argparse
import contextlib
import fcntl
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The ROS 2 wheels exist for these alone; a distribution brings its own Python.
WHEEL_PYTHONS = ((3, 10), (3, 13))
TRAINING_PYTHONS = ((3, 11), (3, 14))
OLDEST_PYTHON = (3, 10)

SOURCE_IT = 'source a ROS 2 distribution first: source /opt/ros/<distribution>/setup.bash'

# Raised when a step's own doing changes, so that older environments are made anew.
LAYOUT = 1

APT_BASICS = 'sudo apt install python3 python3-venv python3-dev g++ make'
DEMO_PHOTOGRAPH = 'demo/demo_data/small-vehicles1.jpeg'
INTERFACES = os.path.join(ROOT, 'tools', 'interfaces')


class SetupError(Exception):
    """Something the user has to mend; the text says how."""


def digest(*parts):
    """Hash files (by content) and plain values into one short stamp."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str) and os.path.isfile(part):
            with open(part, 'rb') as stream:
                part = hashlib.sha256(stream.read()).hexdigest()
        total.update(json.dumps(part).encode() + b'\0')
    return total.hexdigest()[:16]


def clean_environment():
    """Return the process environment without what would lead Python or pip astray."""
    environment = dict(os.environ)
    for name in ('PYTHONHOME', 'VIRTUAL_ENV', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER',
                 '__PYVENV_LAUNCHER__'):
        environment.pop(name, None)
    environment['PIP_DISABLE_PIP_VERSION_CHECK'] = '1'
    environment['PIP_NO_INPUT'] = '1'
    return environment


def probe(python, code):
    """Run `code` in another interpreter; its output, or None where that fails."""
    try:
        done = subprocess.run(
            [python, '-c', code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, env=clean_environment(), timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode().strip() if done.returncode == 0 else None


class Interpreter:
    """A Python that an environment can be made from."""

    def __init__(self, path, facts):
        self.path = path
        self.version = tuple(facts['version'])
        self.include = facts['include']
        self.has_venv = facts['venv']

    @classmethod
    def find(cls, name):
        """Look at the interpreter `name`; None where it is not one."""
        path = shutil.which(name)
        text = path and probe(path, (
            'import importlib.util as u, json, sys, sysconfig\n'
            'print(json.dumps({"version": sys.version_info[:3],'
            ' "path": getattr(sys, "_base_executable", None) or sys.executable,'
            ' "include": sysconfig.get_path("include"),'
            ' "venv": all(u.find_spec(n) is not None for n in ("venv", "ensurepip"))}))'))
        if not text:
            return None
        facts = json.loads(text)
        return cls(facts['path'], facts)

    def __str__(self):
        return 'Python {} ({})'.format('.'.join(map(str, self.version)), self.path)


def distribution_sourced(wanted):
    """Name the ROS 2 distribution that the shell has sourced, or None."""
    if os.environ.get('ROS_DISTRO'):
        return os.environ['ROS_DISTRO']
    # A distribution built from source need not name itself. AMENT_PREFIX_PATH alone says nothing:
    # a process of our own environment has it too, but leads no other Python to rclpy.
    if os.environ.get('AMENT_PREFIX_PATH'):
        found = Interpreter.find(wanted)
        if found and probe(found.path, 'import rclpy') is not None:
            return '<distribution>'
    return None


def candidates(wanted, *others):
    """Look at the wanted interpreter, then at others unless the user has named one."""
    for name in (wanted, *others) if wanted == 'python3' else (wanted,):
        found = Interpreter.find(name)
        if found:
            yield found


def interpreter_on(distribution, wanted):
    """Pick the Python that sees the distribution's packages, or explain why there is none."""
    seen = []
    for found in candidates(wanted, '/usr/bin/python3'):
        if found.version >= OLDEST_PYTHON and probe(found.path, 'import rclpy') is not None:
            return found
        seen.append(str(found))
    raise SetupError(
        'ROS 2 {0} is sourced, but its rclpy (for Python 3.10 or newer) does not import in: {1}.\n'
        "    Name the distribution's own Python:  make PYTHON=/usr/bin/python3 ...\n"
        '    Or install rclpy:                    sudo apt install ros-{0}-rclpy\n'
        '    Or do without the distribution, in a shell that has not sourced it.'.format(
            distribution, ', '.join(seen) or 'no Python at all'))


def interpreter_between(low, high, wanted, otherwise=''):
    """Pick a Python of a supported version, or explain what to install."""
    others = ['python3.{}'.format(minor) for minor in (12, 11, 13, 10, 14)]
    seen = []
    for found in candidates(wanted, '/usr/bin/python3', *others):
        if low <= found.version[:2] <= high:
            return found
        seen.append(str(found))
    raise SetupError(
        'This needs Python {}.{} to {}.{}; found {}.\n'
        '    Install one, with its venv and headers, and name it: make PYTHON=python3.12 ...{}'
        .format(*(low + high), ', '.join(seen) or 'none', otherwise))


def check_wheels_exist():
    """Explain what to do on a machine that the ROS 2 wheels were not built for."""
    here = (platform.system(), platform.machine(), platform.libc_ver()[0])
    if here != ('Linux', 'x86_64', 'glibc'):
        raise SetupError(
            'Without a ROS 2 distribution this works on Linux with glibc on x86-64 only; here is '
            '{}.\n    To use it here, {}'.format(', '.join(filter(None, here)), SOURCE_IT))


def check_prerequisites(python, compiles):
    """Name every missing prerequisite at once, with the command that installs them."""
    missing = []
    if not python.has_venv:
        missing.append('the venv module of {}'.format(python))
    if compiles:
        if not os.path.isfile(os.path.join(python.include, 'Python.h')):
            missing.append('the headers of {}'.format(python))
        # Everything that brings g++ brings gcc.
        if not (os.environ.get('CXX') or shutil.which('g++')):
            missing.append('g++')
    if missing:
        raise SetupError('Missing: {}.\n    {}'.format('; '.join(missing), APT_BASICS))


def check_distribution(python, distribution):
    """See that the distribution brings the messages and OpenCV, which the lock leaves to it."""
    packages = {
        'cv2': 'python3-opencv',
        'diagnostic_msgs': 'ros-{}-diagnostic-msgs',
        'geometry_msgs': 'ros-{}-geometry-msgs',
        'lifecycle_msgs': 'ros-{}-lifecycle-msgs',
        'numpy': 'python3-numpy',
        'sensor_msgs': 'ros-{}-sensor-msgs',
        'std_msgs': 'ros-{}-std-msgs',
        'tf2_msgs': 'ros-{}-tf2-msgs',
        'vision_msgs': 'ros-{}-vision-msgs',
        'visualization_msgs': 'ros-{}-visualization-msgs',
    }
    missing = [
        package.format(distribution) for module, package in sorted(packages.items())
        if probe(python.path, 'import importlib.util as u\nassert u.find_spec({!r})'.format(
            module)) is None]
    if missing:
        raise SetupError(
            'ROS 2 {} is sourced but lacks packages that this one needs.\n'
            '    sudo apt install {}'.format(distribution, ' '.join(missing)))


class Environment:
    """One virtual environment and the stamps of the steps that made it."""

    def __init__(self, path, title):
        self.path = path
        self.title = title
        self.python = os.path.join(path, 'bin', 'python')
        self.log = os.path.join(path, 'setup.log')
        self._stamps = os.path.join(path, 'stamps')

    @property
    def site_packages(self):
        """The folder that packages are installed into."""
        return glob.glob(os.path.join(self.path, 'lib', 'python3.*', 'site-packages'))[0]

    def done(self, step, stamp):
        """Whether `step` was finished from just these ingredients."""
        try:
            with open(os.path.join(self._stamps, step)) as stream:
                return stream.read() == stamp
        except OSError:
            return False

    @contextlib.contextmanager
    def step(self, step, stamp, text):
        """Time a step, say so in one line, and stamp it once it is through."""
        marker = os.path.join(self._stamps, step)
        with contextlib.suppress(FileNotFoundError):
            os.remove(marker)
        sys.stdout.write('{}: {} ... '.format(self.title, text))
        sys.stdout.flush()
        start = time.monotonic()
        yield
        os.makedirs(self._stamps, exist_ok=True)
        with open(marker + '.new', 'w') as stream:
            stream.write(stamp)
        os.replace(marker + '.new', marker)
        print('{:.0f} s'.format(time.monotonic() - start), flush=True)

    def run(self, *command, **changes):
        """Run a command into the log; a failure shows the log's end."""
        environment = clean_environment()
        environment.update(changes)
        environment['PATH'] = os.path.join(self.path, 'bin') + os.pathsep + environment['PATH']
        with open(self.log, 'a') as log:
            log.write('\n$ {}\n'.format(' '.join(command)))
            log.flush()
            start = log.tell()
            done = subprocess.run(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                env=environment, cwd=ROOT)
        if done.returncode:
            raise SetupError('{}\n    All of it is in {}'.format(
                self._explain(start, done.returncode), os.path.relpath(self.log)))

    def _explain(self, start, status):
        """Say in a few lines why the command failed whose log begins at byte `start`."""
        with open(self.log, errors='replace') as log:
            log.seek(start)
            lines = log.read().splitlines()
        if any('NewConnectionError' in line or 'ReadTimeoutError' in line for line in lines):
            return ('The package registry was not reached. Check the network, or the mirror that '
                    'pip is configured for, and run this again: it goes on from here.')
        errors = [line for line in lines if re.search(r'\berror\b', line, re.I)] or lines
        return 'This failed (exit {}):\n    {}'.format(
            status, '\n    '.join(line[:200] for line in errors[-12:]))

    def pip(self, *arguments):
        """Run this environment's pip."""
        self.run(self.python, '-m', 'pip', *arguments)

    def create(self, interpreter, *options):
        """Make the empty environment, unless it stands already."""
        stamp = digest(LAYOUT, self.path, interpreter.path, interpreter.version, *options)
        if self.done('venv', stamp):
            return
        with self.step('venv', stamp, 'virtual environment with {}'.format(interpreter)):
            shutil.rmtree(self.path, ignore_errors=True)
            os.makedirs(self.path)
            self.run(interpreter.path, '-m', 'venv', *options, self.path)

    def install(self, lock):
        """Install exactly what a lock names, by hash, without resolving anything."""
        stamp = digest(lock)
        if self.done('packages', stamp):
            return
        with self.step('packages', stamp, 'packages of {}'.format(os.path.relpath(lock, ROOT))):
            # A run that was killed while it copied files leaves a package that only looks whole.
            for record in glob.glob(os.path.join(self.site_packages, '*.dist-info')):
                if not os.path.exists(os.path.join(record, 'INSTALLER')):
                    shutil.rmtree(record)
            with open(lock) as stream:
                text = stream.read()
            # Source archives are built with the locked build backends, which so must come first.
            first = os.path.join(self.path, 'build-tools.lock')
            with open(first, 'w') as stream:
                stream.writelines(re.findall(
                    r'^(?:hatchling|packaging|pathspec|pluggy|setuptools|tomli|trove-classifiers'
                    r'|wheel)==.*(?:\n +--hash=.*)*\n', text, re.M))
            common = ('install', '--require-hashes', '--no-deps')
            self.pip(*common, '--only-binary', ':all:', '-r', first)
            # These were never released as wheels: empy generates the message code.
            sources = 'empy,tensorrt-rtx-cu13,tensorrt-stubs'
            self.pip(*common, '--no-build-isolation', '--only-binary', ':all:',
                     '--no-binary', sources, '-r', lock)

    def install_tree(self, folder, *ingredients):
        """Install a source tree of this repository so that edits take effect at once."""
        name = os.path.relpath(folder, ROOT)
        stamp = digest(*ingredients)
        if self.done('tree-' + name.replace('.', 'root'), stamp):
            return
        title = 'perception_ros' if name == '.' else name
        step = self.step('tree-' + name.replace('.', 'root'), stamp, '{}, editable'.format(title))
        # One environment at a time: the build writes into the tree.
        with step, alone_in(os.path.join(ROOT, 'tools')):
            # Not --no-use-pep517: that would put the executables where only ROS looks for them.
            self.pip('install', '--no-build-isolation', '--no-deps', '--use-pep517', '-e', folder)


def tree_ingredients():
    """List what an editable installation is made from."""
    return [os.path.join(ROOT, name) for name in ('setup.py', 'setup.cfg', 'package.xml')]


def link_share(environment):
    """Let the share folder show the working tree's files, as colcon's --symlink-install does."""
    share = os.path.join(environment.path, 'share', 'perception_ros')
    os.makedirs(share, exist_ok=True)
    for name in ('config', 'engines', 'launch'):
        link = os.path.join(share, name)
        if not os.path.islink(link):
            os.symlink(os.path.join(ROOT, name), link)


def install_start_up(environment):
    """Make every interpreter of the environment find ROS 2 (see venv_environment.py)."""
    source = os.path.join(ROOT, 'tools', 'venv_environment.py')
    stamp = digest(source)
    if environment.done('start-up', stamp):
        return
    with environment.step('start-up', stamp, 'start-up file'):
        # Sorted before the wheels' own start-up file, which then finds nothing left to do.
        target = os.path.join(environment.site_packages, 'perception_ros_environment.py')
        shutil.copyfile(source, target + '.new')
        os.replace(target + '.new', target)
        with open(target[:-3] + '.pth', 'w') as stream:
            stream.write('import perception_ros_environment\n')


def build_interfaces(environment, lock, folder, packages):
    """Build our copies of interface packages in a folder against the ROS 2 wheels."""
    sources = sorted(
        path for package in packages
        for path in glob.glob(os.path.join(folder, package, '**', '*'), recursive=True)
        if os.path.isfile(path))
    stamp = digest(lock, [os.path.relpath(path, INTERFACES) for path in sources], *sources)
    name = os.path.basename(folder)
    if environment.done(name, stamp):
        return
    what = '{}, built against the ROS 2 wheels'.format(' and '.join(packages))
    with environment.step(name, stamp, what):
        facts = json.loads(probe(environment.python, (
            'import json, numpy, sysconfig\n'
            'print(json.dumps([sysconfig.get_path("include"), numpy.get_include()]))')))
        # The wheels' CMake exports name the folders of the machine that built them.
        for export in glob.glob(os.path.join(
                environment.path, 'share', '*', 'cmake', '*rosidl_generator_pyExport*.cmake')):
            with open(export) as stream:
                old = stream.read()
            new = re.sub(r'/opt/python/[^;" ]*/numpy/(?:_core|core)/include', facts[1], old)
            new = re.sub(r'/opt/python/[^;" ]*/include/python3\.\d+', facts[0], new)
            if new != old:
                with open(export, 'w') as stream:
                    stream.write(new)
        for package in packages:
            source = os.path.join(folder, package)
            build = os.path.join(environment.path, 'build', package)
            shutil.rmtree(build, ignore_errors=True)
            changes = {'AMENT_PREFIX_PATH': environment.path, 'CMAKE_PREFIX_PATH': '',
                       'LD_LIBRARY_PATH': os.path.join(environment.path, 'lib')}
            cmake = os.path.join(environment.path, 'bin', 'cmake')
            environment.run(
                cmake, '-S', source, '-B', build, '-G', 'Ninja', '-DCMAKE_BUILD_TYPE=Release',
                '-DCMAKE_INSTALL_PREFIX=' + environment.path, '-DBUILD_TESTING=OFF',
                '-DCMAKE_PREFIX_PATH=' + environment.path,
                '-DPython3_EXECUTABLE=' + environment.python, **changes)
            environment.run(cmake, '--build', build, **changes)
            environment.run(cmake, '--install', build, **changes)
            shutil.rmtree(build)


def fetch_demo_photograph(environment):
    """Take the demo photograph out of a source archive that the registry holds."""
    lock = os.path.join(ROOT, 'requirements', 'demo.lock')
    target = os.path.join(ROOT, '.cache', 'demo', os.path.basename(DEMO_PHOTOGRAPH))
    stamp = digest(lock, DEMO_PHOTOGRAPH)
    if environment.done('photograph', stamp) and os.path.isfile(target):
        return
    with environment.step('photograph', stamp, 'demo photograph'):
        download = os.path.join(environment.path, 'download')
        shutil.rmtree(download, ignore_errors=True)
        environment.pip(
            'download', '--require-hashes', '--no-deps', '--no-build-isolation',
            '--no-binary', ':all:', '--dest', download, '-r', lock)
        archive, = glob.glob(os.path.join(download, '*.tar.gz'))
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with tarfile.open(archive) as members:
            name, = [n for n in members.getnames() if n.endswith('/' + DEMO_PHOTOGRAPH)]
            with members.extractfile(name) as source, open(target + '.new', 'wb') as stream:
                shutil.copyfileobj(source, stream)
        os.replace(target + '.new', target)
        shutil.rmtree(download)


def set_up_run(wanted):
    """Make ``.venv``: what the package, the demo and the tests need."""
    environment = Environment(os.path.join(ROOT, '.venv'), 'set-up')
    distribution = distribution_sourced(wanted)
    if distribution:
        interpreter = interpreter_on(distribution, wanted)
        check_prerequisites(interpreter, compiles=False)
        check_distribution(interpreter, distribution)
        environment.create(interpreter, '--system-site-packages')
        environment.install(os.path.join(ROOT, 'requirements', 'distribution.lock'))
    else:
        check_wheels_exist()
        interpreter = interpreter_between(
            *WHEEL_PYTHONS, wanted, otherwise='\n    Or ' + SOURCE_IT)
        check_prerequisites(interpreter, compiles=True)
        lock = os.path.join(ROOT, 'requirements', 'standalone.lock')
        environment.create(interpreter)
        environment.install(lock)
        install_start_up(environment)
        build_interfaces(environment, lock, INTERFACES, ('tf2_msgs', 'vision_msgs'))
    environment.install_tree(ROOT, *tree_ingredients())
    link_share(environment)
    fetch_demo_photograph(environment)


def set_up_autoware(wanted):
    """Add Autoware's messages to ``.venv``, where no Autoware is sourced that has them."""
    set_up_run(wanted)
    environment = Environment(os.path.join(ROOT, '.venv'), 'set-up')
    if distribution_sourced(wanted):
        raise SetupError(
            'a ROS 2 distribution is sourced: source a workspace of Autoware on top of it instead')
    build_interfaces(
        environment, os.path.join(ROOT, 'requirements', 'standalone.lock'),
        os.path.join(INTERFACES, 'autoware'),
        ('autoware_perception_msgs', 'tier4_perception_msgs'))


def set_up_train(wanted):
    """Make ``.venv-train``: what training needs; the only one that holds torch."""
    training = os.path.join(ROOT, 'training')
    interpreter = interpreter_between(*TRAINING_PYTHONS, wanted)
    check_prerequisites(interpreter, compiles=False)
    environment = Environment(os.path.join(ROOT, '.venv-train'), 'training set-up')
    environment.create(interpreter)
    environment.install(os.path.join(training, 'requirements.lock'))
    environment.install_tree(ROOT, *tree_ingredients())
    environment.install_tree(training, os.path.join(training, 'pyproject.toml'))


@contextlib.contextmanager
def alone_in(folder, waiting=''):
    """Wait until nobody else on this machine is in here with the same folder."""
    guard = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, flush=True)
            fcntl.flock(guard, fcntl.LOCK_EX)
        yield
    finally:
        os.close(guard)


def main():
    """Run one set-up; two of the same environment wait for one another."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('environment', choices=('run', 'autoware', 'train'))
    parser.add_argument('--python', default='python3', help='the Python to build on')
    arguments = parser.parse_args()
    folder = os.path.join(ROOT, 'training') if arguments.environment == 'train' else ROOT
    set_up = {'run': set_up_run, 'autoware': set_up_autoware, 'train': set_up_train}
    try:
        with alone_in(folder, 'set-up: another one is at work here; waiting for it'):
            set_up[arguments.environment](arguments.python)
    except SetupError as error:
        sys.stdout.flush()
        sys.exit('\nset-up: {}'.format(error))
    except KeyboardInterrupt:
        sys.exit('\nset-up: interrupted; the next run goes on from here')


if __name__ == '__main__':
    main()
