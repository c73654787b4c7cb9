#!/usr/bin/env python3
"""Writes what docs/reference/ lists from the tables in the source: scripts/reference-docs.py [--check]. The text between a page's marks is replaced; --check only
says whether it would change (exit 1)."""
import os, re, sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def source(path): return open(os.path.join(TOP, path)).read()


def metrics():
    text = source('src/api/metrics_table.h').split('#endif', 5)[5]
    string = r'"((?:[^"\\]|\\.)*)"'
    lines = ['| metric | type | labels | meaning |', '|---|---|---|---|']
    n = 0
    for kind, rest in re.findall(r'^(SERVER|DATABASE|REDUCER|TABLE)_(?:METRIC|SUMMARY)\((.*)\)$', text, re.M):
        n += 1
        rest = re.sub(rf'^\w+, (\w+, \w+, {string}), ', r'\1, summary, ', rest) if re.match(rf'\w+, \w+, \w+, {string}', rest) else rest # DATABASE_SUMMARY
        m = re.fullmatch(rf'\w+, (?:\w+, )?{string}, (\w+), (?:{string}, )?{string}', rest)
        assert m, rest
        name, type_, labels, help_ = m.groups()
        labels = {'SERVER': '', 'DATABASE': 'db', 'REDUCER': labels, 'TABLE': 'db, table_id, table_name'}[kind]
        lines.append(f'| `{name}` | {type_} | {labels} | {help_} |')
    assert n == len(re.findall(r'^\w+_(?:METRIC|SUMMARY)\(', text, re.M)) > 40
    return lines


FORMS = {'FLAG': 'true or false', 'TEXT': 'text', 'NUMBER': 'number', 'FRACTION': 'fraction', 'BYTES': 'bytes', 'TIME': 'time', 'LIST': 'list'}


def options():
    text = source('src/cli/start_options.h').split('#endif', 2)[2]
    string = r'"((?:[^"\\]|\\.)*)"'
    on_both, in_file = [], []
    for line in re.findall(r'^(?:START_OPTION|CONFIG_KEY)\(.*\)$', text, re.M):
        m = re.fullmatch(rf"START_OPTION\(\w+, {string}, (?:'(\w)'|0), (\w+), {string}, {string}, {string}, {string}\)", line)
        if m:
            name, letter, form, section, key, default, help_ = m.groups()
            on_both.append(f"| `--{name}`{f', `-{letter}`' if letter else ''} | {f'`[{section}]` `{key}`' if section else ''} | {FORMS[form]} | {f'`{default}`' if default else ''} | {help_} |")
            continue
        m = re.fullmatch(rf'CONFIG_KEY\(\w+, (\w+), {string}, {string}, {string}, {string}\)', line)
        assert m, line
        form, section, key, default, help_ = m.groups()
        in_file.append(f"| | `[{section}]` `{key}` | {FORMS[form]} | {f'`{default}`' if default else ''} | {help_} |")
    assert len(on_both) > 10 and len(in_file) > 10
    return ['| command line | config.toml | value | default | meaning |', '|---|---|---|---|---|'] + on_both + in_file


PAGES = {'docs/reference/options.md': {'options': options}, 'docs/reference/metrics.md': {'metrics': metrics}}
for path, marks in PAGES.items():
    new = page = source(path)
    for name, make in marks.items():
        new, n = re.subn(rf'(<!-- {name} -->\n).*?(<!-- end -->)', lambda m: m.group(1) + '\n'.join(make()) + '\n' + m.group(2), new, flags=re.S)
        assert n == 1, f'{path} has no place for {name}'
    if new == page: continue
    if '--check' in sys.argv: sys.exit(f'{path} is not what the source says: run scripts/reference-docs.py')
    open(os.path.join(TOP, path), 'w').write(new)
