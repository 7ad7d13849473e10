import json
import struct
import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fino1.spec import canonical
from tests.cluster.tools import golang
from tests.needs import needed

finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]))  # Go replaces lone surrogates; we refuse them when loading
documents = st.recursive(
    st.none() | st.booleans() | finite | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)

PRINTED = [  # by Go 1.26's json.Marshal, which is what Helm's toJson calls
    (0, "0"),
    (-0.0, "-0"),
    (1.0, "1"),
    (1000000, "1000000"),
    (5e-7, "5e-7"),
    (5e-6, "0.000005"),
    (1e-6, "0.000001"),
    (9.99999999999999e-7, "9.99999999999999e-7"),
    (-1.5e-10, "-1.5e-10"),
    (1e20, "100000000000000000000"),
    (1e21, "1e+21"),
    (-1.25e300, "-1.25e+300"),
    (123456789012345680000.0, "123456789012345680000"),
    (0.1 + 0.2, "0.30000000000000004"),
    (2**53 + 1, "9007199254740992"),
    (5e-324, "5e-324"),
    (1.7976931348623157e308, "1.7976931348623157e+308"),
    (True, "true"),
    (None, "null"),
    ("<a href='x'>&</a>", "\"\\u003ca href='x'\\u003e\\u0026\\u003c/a\\u003e\""),
    ("\u2028 \u2029", '"\\u2028 \\u2029"'),
    ('"\\/\n\r\t\b\f\x00\x1f\x7f', '"\\"\\\\/\\n\\r\\t\\b\\f\\u0000\\u001f\x7f"'),
    ("é € 😀", '"é € 😀"'),
    ({"b": 1, "a": [1.0, {}], "B": []}, '{"B":[],"a":[1,{}],"b":1}'),
    ({"\U00010000": 1, "\uffff": 2}, '{"\uffff":2,"\U00010000":1}'),  # sorted by UTF-8, not by UTF-16
]


@pytest.mark.parametrize(("document", "printed"), PRINTED, ids=lambda value: repr(value)[:30])
def test_prints_as_helm_does(document, printed):
    assert canonical.dumps(document) == printed


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_not_finite_is_refused(number):
    with pytest.raises(ValueError, match="cannot hold"):
        canonical.dumps({"a": number})


@pytest.mark.parametrize("value", [{1, 2}, b"x", object()])
def test_what_is_not_json_is_refused(value):
    with pytest.raises(TypeError, match="cannot hold"):
        canonical.dumps([value])


@given(documents)
def test_reads_back_as_the_same_document(document):
    printed = canonical.dumps(document)
    read = json.loads(printed, parse_int=float)
    assert read == document
    assert canonical.dumps(read) == printed


@given(st.floats(-1e30, 1e30).filter(lambda x: x == int(x)))
def test_an_integer_is_its_float(number):
    assert canonical.digest(int(number) or 0) == canonical.digest(number or 0)


def test_the_digest_is_stable():
    block = {"learning_rate": 5e-7, "lam": 0.95, "note": "é<&>"}
    document = {"method": "ppo", "ppo": block, "seed": 42, "list": [None, 1.0]}
    assert canonical.digest(document) == "7aa3a384fa38b0ce7f83e520cef05eb57ca79b8090879825f970f4e8efc1509f"


GO = """package main

import ("bufio"; "encoding/json"; "fmt"; "math"; "os"; "strconv"; "strings")

// Each line is "f" and the bits of a float64 in hex, or "d" and a document. Prints what json.Marshal makes of it.
func main() {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 1<<20), 1<<24)
	for in.Scan() {
		kind, rest, _ := strings.Cut(in.Text(), " ")
		var value any
		if kind == "f" {
			bits, _ := strconv.ParseUint(rest, 16, 64)
			value = math.Float64frombits(bits)
		} else if err := json.Unmarshal([]byte(rest), &value); err != nil {
			panic(err)
		}
		out, err := json.Marshal(value)
		if err != nil {
			panic(err)
		}
		fmt.Println(string(out))
	}
}
"""


@pytest.mark.slow
def test_agrees_with_go(tmp_path):
    go = needed(golang.go)
    cases: list = [document for document, _ in PRINTED]
    numbers = [mantissa * 10.0**power for power in range(-30, 31) for mantissa in (1, -1.5, 9.999999999999999)]

    @settings(max_examples=1500, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @example({"a": numbers})
    @given(finite | documents)
    def collect(document):
        cases.append(document)

    collect()
    lines = [f"f {struct.pack('>d', case).hex()}" if type(case) is float else f"d {json.dumps(case)}" for case in cases]
    program = tmp_path / "print.go"
    program.write_text(GO)
    printed = subprocess.run(
        [go, "run", str(program)], input="\n".join(lines), capture_output=True, text=True, timeout=300, check=True
    ).stdout.split("\n")[:-1]
    assert len(printed) == len(cases) > 1500
    wrong = [(case, ours, go) for case, go in zip(cases, printed, strict=True) if (ours := canonical.dumps(case)) != go]
    assert not wrong, wrong[:5]
