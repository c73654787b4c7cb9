#!/usr/bin/env python3
"""Every defect of spec/06 §20 and every case of §21 has a row in tests/unit/README.md, and what the rows name is there: files, functions in those files, cases of the black-box suite
that must pass, cases of data files."""
import glob, os, re, sys
TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PAGE = os.path.join(TOP, 'tests', 'unit', 'README.md')
SECTIONS = {'Conformance cases of the datastore (spec/06 §21)': 42, 'Defects of the reference (spec/06 §20), each with a test that we do not have it': 13}
passing = set(open(os.path.join(TOP, 'tests', 'conformance', 'passing.txt')).read().split())
every_test = {os.path.basename(p): open(p, errors='replace').read() for folder in ('unit', 'e2e', 'conformance', 'storage-sim') for p in glob.glob(f'{TOP}/tests/{folder}/*.*')}
bad = []


def numbers(cell):
    """`1–3, 5` and `23-25` as a set; words behind are the reader's."""
    found = set()
    for first, last in re.findall(r'\b(\d+)(?:\s*[–-]\s*(\d+))?', cell.split(' ')[0] if re.match(r'\d+ [a-z]', cell) else cell):
        found |= set(range(int(first), int(last or first) + 1))
    return found


for title, last in SECTIONS.items():
    page = open(PAGE).read().split('## ' + title + '\n')
    if len(page) != 2:
        bad.append(f'there is no section "{title}"')
        continue
    named = set()
    for line in page[1].split('\n## ')[0].splitlines():
        row = re.match(r'\| *([0-9].*?) *\|(.*)\|$', line)
        if not row: continue
        cases, text = numbers(row[1]), row[2]
        named |= cases
        words = re.findall(r'`([^`]+)`', text)
        files = [w for w in words if re.search(r'\.(c|py|case|txt)$', w)]
        if not files and not any(os.path.isdir(os.path.join(TOP, w)) for w in words): bad.append(f'row {row[1]}: it names no test')
        current = None
        for w in words:
            if re.search(r'\.(c|py|case|txt)$', w):
                current = every_test.get(os.path.basename(w))
                if current is None: bad.append(f'row {row[1]}: {w} is not there')
            elif re.fullmatch(r's06_c\d+', w):
                if w not in passing: bad.append(f'row {row[1]}: {w} is not among the cases that must pass')
            elif re.fullmatch(r'[a-z]\w+', w) and current is not None and not re.search(rf'\b{w}\b', current):
                bad.append(f'row {row[1]}: there is no {w} in the file named before it')
        if 'passing.txt' in text:
            bad += [f'case {n}: s06_c{n:02} is not in passing.txt' for n in cases if f's06_c{n:02}' not in passing]
    bad += [f'{title}: {n} is missing' for n in sorted(set(range(1, last + 1)) - named)]
for line in bad: print(line)
sys.exit(1 if bad else 0)
