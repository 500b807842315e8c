# SPDX-License-Identifier: Apache-2.0
"""Rules of form as a test.  Run from the top of the checkout; prints each
place that breaks one and exits 1.

  - the first line of each source is the SPDX line
  - file foo.c exports foo or foo_* only, and never a prefix that a library
    owns
  - one .c file includes a given library's header
  - includes point down: cli > job > repo, engine, host > image, wire > base
  - no extern in a .c file, no VLA-like alloca, no header named as one in
    /usr/include, files under 800 lines
  - a raw read, write, close of what was written lives in base/fdio.c
  - docs/DESIGN names every module"""

import collections
import glob
import os
import re
import sys

LIBRARIES = {
    'libssh': r'libssh/', 'curl': r'curl/', 'xml': r'libxml/',
    'config': r'libconfig\.h', 'qcow': r'libqcow\.h', 'lz4': r'lz4',
    'xxhash': r'xxhash\.h', 'zlib': r'zlib\.h', 'zstd': r'zstd\.h',
}
FORBIDDEN = re.compile(
    r'^(ssh|sftp|channel|string|buffer|publickey|privatekey|config|libconfig'
    r'|scanctx|strbuf|curl|xml|LZ4|LZ4F|libqcow|sqlite3)_')
# Names that are part of the language of all files, and files without a name
# of their own in what they export.
COMMON = {'src/host/gulp.c': r'(recv|poll)$',
          'src/base/buf.c': r'(get|put)_(le|be)(16|32|64)$',
          'src/base/xmem.c': r'(x[a-z]+|try_[a-z]+)$'}
LEVEL = {'base': 0, 'wire': 1, 'image': 1, 'repo': 2, 'engine': 2, 'host': 2,
         'conf': 2, 'job': 3, 'cli': 4}
# conf knows base alone; repo may use image and wire/digest.h; host uses wire.
SIDEWAYS = {('wire', 'wire'), ('image', 'image')}
problems = []


def bad(path, line, text):
    problems.append('%s:%d: %s' % (path, line, text))


def sources():
    for top in ('src', 'remote', 'tests'):
        for folder, _, names in os.walk(top):
            for name in sorted(names):
                if name.endswith(('.c', '.h')):
                    yield os.path.join(folder, name)


def part(path):
    """The folder of src that a file belongs to, or None."""
    bits = path.split('/')
    return bits[1] if bits[0] == 'src' and len(bits) > 2 else None


def check_include(path, number, name, users):
    for library, pattern in LIBRARIES.items():
        if re.match(pattern, name):
            users[library].add(path)
    mine, theirs = part(path), name.split('/')[0]
    if mine is None or theirs not in LEVEL or mine == theirs:
        return
    if LEVEL[theirs] >= LEVEL[mine]:
        bad(path, number, '%s/ must not include %s' % (mine, name))
    if mine == 'conf' and theirs != 'base':
        bad(path, number, 'conf/ includes base/ only')
    if mine == 'engine' and theirs in ('wire', 'image'):
        bad(path, number, 'engine/ knows nothing of %s/' % theirs)


def check_file(path, users):
    with open(path, encoding='utf-8') as handle:
        lines = handle.read().split('\n')
    if lines[0] != '/* SPDX-License-Identifier: Apache-2.0 */':
        bad(path, 1, 'no SPDX line')
    if len(lines) > 800:
        bad(path, len(lines), '%d lines' % len(lines))
    for number, line in enumerate(lines, 1):
        found = re.match(r'#\s*include [<"]([^>"]+)[>"]', line)
        if found and path.startswith(('src', 'remote')):
            check_include(path, number, found.group(1), users)
        if path.endswith('.c') and re.match(r'\s*extern\b', line):
            bad(path, number, 'extern in a .c file')
        if re.search(r'\balloca \(', line):
            bad(path, number, 'alloca')
    if path.startswith(('src', 'remote')) and path.endswith('.c'):
        check_exports(path, lines)
        check_io(path, lines)


def check_exports(path, lines):
    """With the return type on its own line, an exported function is a name
    at the start of a line after a line that is no `static`."""
    stem = os.path.basename(path)[:-2]
    for number in range(1, len(lines)):
        found = re.match(r'([a-z_0-9]+) \(', lines[number])
        before = lines[number - 1]
        if not found or not re.match(r'[a-z]', before) \
                or before.rstrip().endswith((';', ',', ')')):
            continue
        name = found.group(1)
        if re.search(r'\bstatic\b', before) or name == 'main':
            continue
        if FORBIDDEN.match(name):
            bad(path, number + 1, '%s: a library owns that prefix' % name)
        if re.match(COMMON.get(path, r'$'), name):
            continue
        if not (name == stem or name.startswith(stem + '_')
                or name.startswith(family(stem) + '_')):
            bad(path, number + 1, '%s is exported by %s.c' % (name, stem))


def family(stem):
    """disk_parse.c is a second file of disk.c: it exports disk_*."""
    return stem.split('_')[0]


def check_io(path, lines):
    if path.startswith(('src/base/', 'remote/')):
        return
    for number, line in enumerate(lines, 1):
        if re.search(r'(?<![a-z_>.])(write|pwrite|writev) \(', line):
            bad(path, number, 'a short write is a loop in fdio.c')


def check_design():
    with open('docs/DESIGN', encoding='utf-8') as handle:
        text = handle.read()
    for path in glob.glob('src/*/*.c') + glob.glob('remote/*.c'):
        name = path[:-2].replace('src/', '')
        if not re.search(r'(?<![a-z_/])%s(?![a-z_])' % re.escape(name), text):
            bad(path, 1, 'docs/DESIGN does not say what %s is for' % name)


def main():
    users = collections.defaultdict(set)
    headers = set()
    for path in sources():
        check_file(path, users)
        if path.startswith('src') and path.endswith('.h'):
            headers.add(path)
    for path in headers:
        if os.path.exists('/usr/include/' + os.path.basename(path)):
            bad(path, 1, 'a header of that name is in /usr/include')
    for library, paths in users.items():
        if len(paths) > 1:
            bad(sorted(paths)[0], 1, '%s is included by %s'
                % (library, ', '.join(sorted(paths))))
    check_design()
    for line in sorted(problems):
        print(line)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
