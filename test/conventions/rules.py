# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What design and CONTRIBUTING promise about the tree, as functions root -> [violation]. test_rules.py plants each."""
import re
import subprocess
from pathlib import Path

# Group of files -> groups it may include besides itself. The longest prefix of a path names its group.
INCLUDE_EDGES = {
    "include": [],
    "dialects": [],
    "lib/solver": [],
    "lib/analysis": ["dialects"],
    "lib/import": ["dialects"],
    "passes": ["dialects", "lib/analysis", "lib/solver"],
    "codegen": ["dialects", "lib/analysis", "include"],  # include: the ABI of what it writes
    "lib/driver": ["dialects", "lib/analysis", "lib/import", "lib/solver", "passes", "codegen", "include"],
    "lib/capi": ["lib/driver", "include"],
    "tools": ["lib/driver", "include"],
    "runtime": ["include"],
}
WITHOUT_MLIR = ["include", "lib/solver", "runtime"]

CPP = {".h", ".c", ".cpp", ".td", ".def"}
SOFT_LINES, HARD_LINES, MAIN_LINES = 400, 600, 60
TOP_LEVEL = sorted({group.split("/")[0] for group in INCLUDE_EDGES})
SPDX = "// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception"


def files(root, suffixes, folders=None):
    for top in folders or TOP_LEVEL + ["test"]:
        for path in sorted((root / top).rglob("*")):
            if path.suffix in suffixes and path.is_file():
                yield path


def group_of(path):
    """The group of a path relative to the root, or None."""
    fitting = [g for g in INCLUDE_EDGES if path == g or path.startswith(g + "/")]
    return max(fitting, key=len, default=None)


def included(root, path, text):
    """The path relative to the root that an include names, or None when it lies outside of the repository."""
    for base in (path.parent, root, root / "include"):
        found = (base / text).resolve()
        if found.is_file() and root.resolve() in found.parents:
            return found.relative_to(root.resolve()).as_posix()
    # Generated files mirror the tree; <snug/...> is include/snug.
    if text.startswith("snug/"):
        return "include/" + text
    return text if text.split("/")[0] in TOP_LEVEL else None


def include_edges(root):
    found = []
    for path in files(root, {".h", ".c", ".cpp", ".td"}, TOP_LEVEL):
        where = path.relative_to(root).as_posix()
        group = group_of(where)
        if group is None:
            found.append(f"{where}: belongs to no folder of the design (one of {', '.join(INCLUDE_EDGES)})")
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r'\s*#?\s*include\s*["<]([^">]+)[">]', line)
            if not match:
                continue
            text = match.group(1)
            if text.split("/")[0] in ("mlir", "mlir-c", "llvm", "llvm-c") and group in WITHOUT_MLIR:
                found.append(f"{where}:{number}: {group} must not include MLIR or LLVM ({text})")
            target = included(root, path, text)
            other = target and group_of(target)
            if other and other != group and other not in INCLUDE_EDGES[group]:
                found.append(f"{where}:{number}: {group} must not include {other} ({text})")
    return found


def kebab(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def pass_definitions(text):
    """(def name, argument, body) of each pass of a .td file."""
    for match in re.finditer(r'^def\s+(\w+)\s*:\s*(?:Interface)?Pass<\s*"([^"]*)"', text, re.M):
        end = re.search(r"^}", text[match.end():], re.M)
        yield match.group(1), match.group(2), text[match.end():match.end() + end.start() if end else len(text)]


def passes(root):
    found = []
    tests = {p.stem: p for p in files(root, {".mlir"}, ["test"])}
    for table in sorted([*(root / "passes").rglob("*.td"), *(root / "codegen").rglob("*.td")]):
        where = table.relative_to(root).as_posix()
        for name, argument, body in pass_definitions(table.read_text()):
            at, want = f"{where}: {name}", "snug-" + kebab(name)
            if argument != want:
                found.append(f"{at}: its argument is {argument}, not {want}")
            if not re.search(r'let\s+summary\s*=\s*"[^"]+"', body):
                found.append(f"{at}: no summary")
            if not re.search(r"let\s+description\s*=\s*\[\{\s*\S.*?\}\]", body, re.S):
                found.append(f"{at}: no description")
            # A build with assertions sees another llvm::Statistic than a libMLIR built without: memory is overrun.
            if re.search(r"\bStatistic\s*<", body):
                found.append(f"{at}: pass statistics differ in layout between assertion builds and LLVM's own library")
            source = table.with_name(name + ".cpp")
            if not source.is_file():
                found.append(f"{at}: no {source.relative_to(root).as_posix()}")
            else:
                debug = re.search(r'#define\s+DEBUG_TYPE\s+"([^"]*)"', source.read_text())
                if debug and debug.group(1) != want:
                    found.append(f"{at}: DEBUG_TYPE is {debug.group(1)}, not {want}")
            test = tests.get(kebab(name))
            if test is None:
                found.append(f"{at}: no lit test named {kebab(name)}.mlir below test/")
            elif want not in test.read_text():
                found.append(f"{at}: {test.relative_to(root).as_posix()} does not run {want}")
    return found


def spdx(root):
    return [f"{path.relative_to(root).as_posix()}: the first line is not {SPDX!r}" for path in files(root, CPP)
            if not path.read_text().startswith(SPDX + "\n")]


def lengths(root):
    found = []
    for path in files(root, CPP | {".py"}):
        text, where = path.read_text(), path.relative_to(root).as_posix()
        lines = text.count("\n")
        if lines > HARD_LINES:
            found.append(f"{where}: {lines} lines, more than {HARD_LINES} (aim at {SOFT_LINES})")
        if where.startswith("tools/") and lines >= MAIN_LINES and re.search(r"^int main\(", text, re.M):
            found.append(f"{where}: {lines} lines; a file with main() stays under {MAIN_LINES}")
    return found


def placement(root):
    found = [f"{path.relative_to(root).as_posix()}: lib/ holds no .td" for path in files(root, {".td"}, ["lib"])]
    found += [f"{path.relative_to(root).as_posix()}: dialects hold no passes"
              for path in files(root, {".td"}, ["dialects"]) if list(pass_definitions(path.read_text()))]
    return found


def exit_codes(root):
    """The table of docs/command-line.md against X(SNUG_EXIT_..., value, "meaning") of the header."""
    header, page = root / "include/snug/ExitCodes.h", root / "docs/command-line.md"
    want = {int(value): meaning for value, meaning in
            re.findall(r'X\(\s*SNUG_EXIT_\w+,\s*(\d+),\s*"((?:[^"\\]|\\.)*)"\)', header.read_text())}
    have = {int(value): meaning for value, meaning in
            re.findall(r"^\| (\d+) \| (.+?) \|$", page.read_text(), re.M)}
    if not want:
        return [f"{header.relative_to(root)}: no table of exit codes found"]
    return [f"docs/command-line.md: exit code {code} is {have.get(code)!r}, the header says {want.get(code)!r}"
            for code in sorted(want.keys() | have.keys()) if want.get(code) != have.get(code)]


def stages(root):
    """The table of docs/pipeline.md against SNUG_STAGE(Enumerator, "name", ...) of the one table of stages."""
    table, page = root / "lib/driver/Stages.def", root / "docs/pipeline.md"
    want = re.findall(r'^SNUG_STAGE\(\w+,\s*"([\w-]+)"', table.read_text(), re.M)
    have = re.findall(r"^\| ([\w-]+) \| `", page.read_text(), re.M)
    return [] if want and want == have else [f"docs/pipeline.md: its stages are {have}, Stages.def has {want}"]


def named_files(root):
    """Files and folders of the repository that the documentation names in backticks or links."""
    found = []
    for page in [root / "CONTRIBUTING.md", root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        if not page.is_file():
            continue
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S)
        for name in re.findall(r"`((?:" + "|".join(TOP_LEVEL + ["test", "docs", "python"]) + r")/[\w./-]*)`", text):
            if not (root / name).exists():
                found.append(f"{page.relative_to(root).as_posix()}: there is no {name}")
        for name in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (page.parent / name).exists():
                found.append(f"{page.relative_to(root).as_posix()}: links to {name}, which does not exist")
    return found


def symbolic_links(root):
    """No file of the repository is a link: it would lead to a place of one machine."""
    if not (root / ".git").exists():  # an unpacked archive
        return []
    listed = subprocess.run(["git", "-C", root, "ls-files", "-s"], capture_output=True, text=True, check=True).stdout
    return [f"{line.split(chr(9))[1]} is a symbolic link" for line in listed.splitlines() if line.startswith("120000")]


ALL = [include_edges, passes, spdx, lengths, placement, exit_codes, stages, named_files, symbolic_links]
ROOT = Path(__file__).resolve().parents[2]
