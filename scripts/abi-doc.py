#!/usr/bin/env python3
"""Writes the tables of docs/module-abi.md from src/host/abi_table.h: scripts/abi-doc.py [--check]. The text between the marks is replaced; --check only
says whether it would change (exit 1)."""
import os, re, sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(TOP, 'docs', 'module-abi.md')
text = open(os.path.join(TOP, 'src', 'host', 'abi_table.h')).read()
imports = re.findall(r'ABI_FUNCTION\((\d+), (\w+), "(\w*)", (?:\'(\w)\'|0), \w+, "([^"]*)"\)', text)
errnos = re.findall(r'ABI_ERRNO\((\d+), (\w+), "(\w+)", "([^"]*)"\)', text)
TYPES = {'i': 'i32', 'I': 'i64', '': ''}
tables = {
    'imports': ['| module | import | parameters | type |', '|---|---|---|---|'] + [
        f'| `spacetime_10.{minor}` | `{name}` | {about or "none"} | `({" ".join(TYPES[p] for p in params)}) -> {TYPES[result] or "()"}` |' for minor, name, params, result, about in imports],
    'errnos': ['| number | name | meaning |', '|---|---|---|'] + [f'| {n} | `{name}` | {message} |' for n, name, _, message in errnos],
}
assert imports and errnos
page = open(PAGE).read()
new = page
for name, lines in tables.items():
    new, n = re.subn(rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m: m.group(1) + '\n'.join(lines) + '\n' + m.group(2), new, flags=re.S)
    assert n == 1, f'{PAGE} has no place for {name}'
if '--check' in sys.argv:
    if new != page: sys.exit('docs/module-abi.md is not what src/host/abi_table.h says: run scripts/abi-doc.py')
else: open(PAGE, 'w').write(new)
