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


def commands():
    """[(name, arguments, summary, [(option, help)])] of the tables in cli.c; hidden options are left out."""
    text = source('src/cli/cli.c')
    string = r'"((?:[^"\\]|\\.)*)"'
    entry = rf"\{{{string}, (?:'(\w)'|0), (LC_CLI_\w+), (?:{string}|NULL), (?:{string}|NULL)\}}"
    macros = dict(re.findall(r'^#define (\w+) (\{.*\})$', text, re.M))
    del macros['END']
    tables = {}
    for name, body in re.findall(r'^static const struct lc_cli_option (\w+)\[\] = \{(.*?)END\};', text, re.M | re.S):
        body = re.sub(rf'(?<!["\w])({"|".join(macros)})(?=,)', lambda m: macros[m.group(1)], body)
        tables[name] = [(f"--{o}{f', -{letter}' if letter else ''}{ {'LC_CLI_FLAG': '', 'LC_CLI_VALUE': ' VALUE', 'LC_CLI_OPTIONAL': '[=VALUE]'}[kind]}", help_) for o, letter, kind, help_, _ in re.findall(entry, body) if help_]
    tables['start_options'] = None # a page of its own
    found = re.findall(rf'^  \{{{string}, {string}, {string}, (?:true|false), (?:true|false), -?\d+, -?\d+, (\w+), \w+\}},$', text, re.M)
    assert len(found) == text.count('lc_cli_cmd_') + 2 > 15, len(found) # version and help are its own
    return [(name, arguments, summary, tables[options]) for name, arguments, summary, options in found]


def cli():
    lines = []
    for name, arguments, summary, options in commands():
        lines += [f'## {name}', '', f'`lightcone {name}{" " if arguments else ""}{arguments}`', '', summary + '.']
        if options is None: lines += ['', 'Its options are in [options.md](options.md).']
        elif options: lines += ['', '| option | meaning |', '|---|---|'] + [f'| `{o}` | {h} |' for o, h in options]
        lines.append('')
    return lines[:-1]


def man():
    roff = lambda t: t.replace('\\', '\\e').replace('-', '\\-')
    lines = ['.SH COMMANDS']
    for name, arguments, summary, known in commands():
        lines += ['.SS ' + roff(f'{name} {arguments}'.strip()), roff(summary) + '.']
        for o, h in known or []: lines += ['.TP', f'.B {roff(o)}', roff(h) + '.']
    lines += ['.SH OPTIONS OF START']
    for row in options()[2:]:
        option, _, value, default, help_ = [c.strip() for c in re.split(r'(?<!\\)\|', row)[1:-1]]
        if option: lines += ['.TP', '.B ' + roff(option.replace('`', '')), roff(f'{help_} ({value}{", default " + default if default else ""}).').replace('`', '')]
    return lines


PAGES = {'docs/reference/options.md': {'options': options}, 'docs/reference/metrics.md': {'metrics': metrics}, 'docs/reference/cli.md': {'commands': cli}, 'docs/lightcone.1': {'commands': man}}
for path, marks in PAGES.items():
    new = page = source(path)
    for name, make in marks.items():
        new, n = re.subn(rf'((?:<!--|\.\\") {name}(?: -->)?\n).*?((?:<!--|\.\\") end)', lambda m: m.group(1) + '\n'.join(make()) + '\n' + m.group(2), new, flags=re.S)
        assert n == 1, f'{path} has no place for {name}'
    if new == page: continue
    if '--check' in sys.argv: sys.exit(f'{path} is not what the source says: run scripts/reference-docs.py')
    open(os.path.join(TOP, path), 'w').write(new)
