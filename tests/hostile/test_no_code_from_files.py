"""Nothing in the package can run code from a file, by what its source calls."""

import ast
from pathlib import Path

import pytest

import litestereo

PACKAGE = Path(litestereo.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "pty.spawn"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open"),
    *("joblib.load", "torch.jit.load", "torch.hub.load", "onnx.load", "onnx.load_model"),
    *("cv2.FileStorage", "zipfile.ZipFile.extractall", "shutil.unpack_archive", "tarfile.open"),
}
FORBIDDEN_METHODS = {"extractall"}
# The only reader of XML: it refuses a <!DOCTYPE, without which there are no entities.
XML_READERS = {"runtime/geometry/tree_formats.py"}


def faults(source):
    """Return what is wrong with one module, by line."""
    return [
        f"line {node.lineno}: {words}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and (words := _fault(node))
    ]


def _fault(call):
    name = ast.unparse(call.func)
    options = {word.arg: ast.unparse(word.value) for word in call.keywords}
    if name in FORBIDDEN or name.rpartition(".")[2] in FORBIDDEN_METHODS:
        return name
    if name == "torch.load" and options.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    reads_npy = name in ("np.load", "numpy.load", "np.lib.format.read_array")
    if reads_npy and options.get("allow_pickle", "False") != "False":
        return "np.load that may unpickle"
    if options.get("shell", "False") != "False":
        return "a shell"
    # A session takes bytes that read_onnx has looked at, never a path.
    if name.endswith("InferenceSession") and "path" in ast.unparse(call.args[0]):
        return "an ONNX Runtime session on a path"
    return ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_runs_no_code_from_files(path):
    assert faults(path.read_text()) == []


def test_xml_is_read_in_one_place():
    readers = {str(p.relative_to(PACKAGE)) for p in SOURCES if "xml.etree" in p.read_text()}
    assert readers == XML_READERS
    others = ("xml.sax", "xml.dom", "lxml", "import yaml\n", "ruamel", "import marshal")
    assert [p for p in SOURCES if any(word in p.read_text() for word in others)] == []


@pytest.mark.parametrize(
    "code",
    [
        "eval(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(text, shell=True)",
        "pickle.loads(content)",
        "onnx.load(path)",
        "archive.extractall(folder)",
        "onnxruntime.InferenceSession(str(path))",
    ],
)
def test_the_check_can_fail(code):
    assert faults(code)


def test_the_check_lets_safe_calls_be():
    safe = "torch.load(path, weights_only=True); np.load(path); model.eval(); re.compile('a')"
    assert faults(safe) == []
