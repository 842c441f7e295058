# a flow and what it prints stand on one line
"""The classes of the standard library, as flows use them; files and the way out of the script root that is not there."""

import os

import pytest
from standing import Standing
from test_examples import CLASSES, VOCABULARY, play

from flowengine.builtins.files import File
from flowengine.language.natives import native_class
from flowengine.language.problems import BudgetExceeded, FlowError
from flowengine.language.values import Secret
from flowengine.runtime.files import read_below


@pytest.fixture
def run(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"alice\r\nbob\n\nlast")
    (tmp_path / "table.csv").write_bytes(b'id,name\n1,"a,b"\n2,c\n')
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "deep.txt").write_bytes(b"deep")
    return Standing(script_root=tmp_path)


@pytest.mark.parametrize(
    ("flow", "output"),
    [
        ('$m = Map("string", "number"); echo $m->set("a", 1); echo $m->get("a") . $m->size();', ["true", "11"]),
        ('$m = Map("string", "any"); echo $m->get("x"); echo $m->has("x"); echo $m->delete("x");', ["", "false", "false"]),
        ('$m = Map("string", "number"); $m->merge("a", 2); $m->merge("a", 3); echo $m->get("a");', ["5"]),
        ('$m = Map("string", "array"); $m->merge("a", [1]); $m->merge("a", [2]); echo $m->get("a");', ["[0=>1,1=>2]"]),
        ('$m = Map("number", "any"); $m->set(1, "x"); foreach ($m->entries() as $k => $v) echo "$k $v";', ["1 x"]),
        ('$m = Map("boolean", "any"); $m->set(true, 1); $m->clear(); echo $m->size();', ["0"]),
        ('$a = [1]; $m = Map("string", "array"); $m->set("a", $a); $a[] = 2; echo $m->get("a");', ["[0=>1]"]),
        ('$s = Set("string"); echo $s->add("a"); echo $s->add("a"); echo $s->has("a");', ["true", "false", "true"]),
        ('$s = Set("number"); $s->add(3); $s->add(5); foreach ($s->values() as $v) echo $v;', ["3", "5"]),
        ('$s = Set("string"); foreach ($s->values() as $v) echo $v; echo $s->size(); echo $s ? 1 : 2;', ["0", "1"]),
        ('$s = Set("string"); $s->add("a"); foreach ($s->values() as $v) $s->add($v . "b"); echo $s->size();', ["2"]),
        ('$i = Iconv("ISO-8859-1", "UTF-8"); echo $i->convert(chr(233)); echo $i->errno();', ["\xc3\xa9", "0"]),
        ('$i = Iconv("UTF-8", "US-ASCII"); echo $i->convert("\\xc3\\xa9"); echo $i->errno();', ["", "84"]),
        ('$i = Iconv("UTF-8", "ASCII//TRANSLIT"); echo $i->convert("a\\xc3\\xa9");', ["a?"]),
        ('$i = Iconv("UTF-8", "ASCII//IGNORE"); echo $i->convert("a\\xc3\\xa9"); $i->close(); echo $i->convert("a");', ["a", ""]),
        ('$f = File("list.txt"); echo $f->readline(); echo $f->read(2) . $f->tell(); echo $f->getPath();', ["alice", "bo9", "list.txt"]),
        ('$f = File("list.txt"); while (is_string($l = $f->readline())) echo $l;', ["alice", "bob", "", "last"]),
        ('$f = File::String("abc"); echo $f->seek(-1, "SEEK_END"); echo $f->read(); echo $f->read();', ["2", "c", ""]),
        ('$f = File::String("abc"); echo $f->seek(9) === none; echo $f->seek(1, "UP") === none;', ["true", "true"]),
        ('$f = File::String("abc"); $f->close(); echo $f->read() === none; echo $f->tell() === none;', ["true", "true"]),
        ('echo File::read("inner/deep.txt"); echo File::read("none.txt") === none;', ["deep", "true"]),
        ('echo in_file("2", "table.csv", ["type" => "csv", "assoc" => false]);', ['[0=>"2",1=>"c"]']),
        ('echo in_file(function ($row) { return $row[1] == "c"; }, "table.csv", ["type" => "csv"])["id"];', ["2"]),
        ('echo in_file("x", "none.txt") === none; echo in_file("x", "list.txt", ["index" => 9]) === [];', ["true", "true"]),
        ('echo X509::String("no certificate") === none;', ["true"]),
        ('echo http("http://api.example.net/", 15, [], none);', ["hello"]),
    ],
)  # fmt: skip
def test_a_flow_prints(run, flow, output):
    assert play(run, flow) == output


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ('Map("array", "any");', "type of keys"),
        ('Map("string", "date");', "type of values"),
        ('$m = Map("string", "number"); $m->set("a", "b");', "of type number"),
        ('$m = Map("string", "number"); $m->get(1);', "key is a string"),
        ('$s = Set("number"); $s->add("1");', "key is a number"),
        ('Iconv("UTF-8", "klingon");', "klingon"),
        ('Iconv("UTF-8", "base64");', "no character set"),
        ('Iconv("idna", "UTF-8");', "no character set"),
        ('File("none.txt");', "no file"),
        ('File("../secret");', "no file"),
        ('$f = File::String("abc"); $f->write("x");', "write"),
    ],
)
def test_a_flow_fails(run, flow, message):
    with pytest.raises(FlowError, match=message):
        play(run, flow)


def test_collections_are_bounded(run):
    with pytest.raises(BudgetExceeded):
        play(run, '$s = Set("number"); $i = 0; while (true) { $s->add($i); $i += 1; }')


def test_a_file_is_a_fact(run):
    assert play(run, 'echo File::read("list.txt");') == ["alice\r\nbob\n\nlast"]
    again = run.again()  # has no script root at all
    assert play(again, 'echo File::read("list.txt");') == ["alice\r\nbob\n\nlast"]


@pytest.mark.parametrize(
    "name", ["../x", "/etc/passwd", "inner", "link", "loop", "pipe", "a\0b", "x" * 5000, "list.txt/x", ""]
)
def test_nothing_but_plain_files_below_the_root_is_read(tmp_path, name):
    (tmp_path / "x").write_text("outside")
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "list.txt").write_text("a")
    (root / "link").symlink_to(tmp_path / "x")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    assert read_below(root, name, 1000) is None
    assert read_below(root, "list.txt", 1000) == b"a"
    assert read_below(root, "list.txt", 0) is None
    assert read_below(None, "list.txt", 1000) is None


def test_words_of_ours_may_give_files():
    file = File(b"from elsewhere")
    read = native_class(File).methods["read"]
    assert read.call(Standing(), file, 4) == "from"
    assert file.data == b"from elsewhere"


def test_keys_of_collections_keep_types_apart(run):
    assert play(run, '$s = Set("boolean"); $s->add(true); echo $s->has(false); echo $s->size();') == ["false", "1"]
    made = CLASSES["Set"]("string")
    run_add = native_class(CLASSES["Set"]).methods["add"]
    assert run_add.call(run, made, Secret("x")) is True
    assert run_add.call(run, made, "x") is False


def test_the_vocabulary_knows_the_classes():
    assert set(CLASSES) <= set(VOCABULARY.classes)
    assert {"File", "Iconv", "Map", "Set", "X509"} <= set(CLASSES)
