# SPDX-License-Identifier: Apache-2.0
"""qemu-img, qemu-io and chainlift as calls."""
import os
import resource
import shutil
import subprocess

BUILD = os.environ.get('BUILD') or os.path.join(
    os.path.dirname(os.path.abspath(__file__)), '..', '..', 'build-check')
CHAINLIFT = os.path.abspath(os.path.join(BUILD, 'src', 'chainlift'))
SECONDS = 120
MEMORY = 4 << 30


class Failed(Exception):
    """A program ended with an error, or two results differ."""


def limits():
    """For a qemu that reads an image which may be hostile."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def call(*args, cwd=None, ok=(0,), limited=False):
    """Run a program; its status must be in OK (None: any).  (status, stdout,
    stderr)"""
    done = subprocess.run(
        [str(a) for a in args], cwd=cwd, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=4 * SECONDS,
        preexec_fn=limits if limited else None, check=False)
    if ok is not None and done.returncode not in ok:
        raise Failed('%s: exit %d: %s' % (
            ' '.join(map(str, args)), done.returncode,
            (done.stderr + done.stdout).decode(errors='replace').strip()[-600:]))
    return done.returncode, done.stdout, done.stderr


def qemu_img(*args, cwd=None, ok=(0,), limited=False):
    return call('qemu-img', *args, cwd=cwd, ok=ok, limited=limited)


def qemu_io(path, commands, fmt='qcow2', cwd=None, ok=(0,)):
    """All commands in one process."""
    args = ['qemu-io', '-f', fmt]
    for command in commands:
        args += ['-c', command]
    status, out, err = call(*args, path, cwd=cwd, ok=ok)
    if ok == (0,) and b'rror' in out:
        raise Failed('qemu-io %s: %s' % (path, out.decode()[-300:]))
    return status, out, err


def chainlift(*args, cwd=None, ok=(0,)):
    status, out, err = call(CHAINLIFT, *args, cwd=cwd, ok=None)
    if status < 0 or status > 15 or b'Sanitizer' in err:
        raise Failed('chainlift %s: died with %d: %s' % (
            ' '.join(map(str, args)), status, err.decode()[-3000:]))
    if ok is not None and status not in ok:
        raise Failed('chainlift %s: exit %d: %s' % (
            ' '.join(map(str, args)), status, err.decode().strip()[-600:]))
    return status, out, err


def need():
    """The programs that are not there."""
    return [p for p in ('qemu-img', 'qemu-io') if shutil.which(p) is None]
