"""Folders of files: what is found, where it may stand, what is wrong between files."""

from pathlib import Path

import pytest

from adserver.catalog.folder import Folder, read_folder

PUBLISHER = "publisher: lumen\ncurrency: EUR\nplacements: [{id: feed, surface: feed, formats: [native]}]\n"
CAMPAIGN = "advertiser: solace\ncampaign: sleep\ncurrency: EUR\nline_items: []\n"
SAMPLES = Path(__file__).parents[2] / "campaigns"


def folder(root: Path, **files: str) -> Folder:
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return read_folder(root)


def said(found: Folder) -> list[str]:
    problems = [*found.problems, *found.dangling]
    return [f"{problem.document}: {problem.path}: {problem.message}" for problem in problems]


def test_the_sample_world_is_valid() -> None:
    found = read_folder(SAMPLES)
    assert said(found) == []
    kinds = [draft.kind for draft in found.drafts]
    assert kinds.count("publisher") == 3
    assert kinds.count("campaign") >= 40


def test_an_empty_folder_and_none(tmp_path: Path) -> None:
    assert folder(tmp_path).drafts == ()
    with pytest.raises(NotADirectoryError):
        read_folder(tmp_path / "absent")


def test_every_problem_of_every_file_once(tmp_path: Path) -> None:
    found = folder(
        tmp_path,
        **{
            "publishers__lumen.yaml": PUBLISHER + "kindd: web\n",
            "publishers__broken.yaml": "a: [",
            "audiences__x.json": '{"audience": "x", "audience": "y"}',
            "solace__sleep.yaml": CAMPAIGN.replace("EUR", "EURO"),
            "solace__other.yaml": CAMPAIGN,
            "rates.yaml": "base: EUR\nrates: {2026-06-01: {USD: 0}}\n",
            "stray.yaml": "a: 1\n",
            "README.md": "not a document",
            "solace__.hidden.yaml": "a: [",
        },
    )
    lines = said(found)
    assert len(lines) == len(set(lines))
    assert [line.split(":")[0] for line in lines] == sorted(
        [
            "audiences/x.json", "publishers/broken.yaml", "publishers/lumen.yaml", "rates.yaml",
            "solace/other.yaml", "solace/sleep.yaml", "solace/sleep.yaml", "stray.yaml",
        ]
    )  # fmt: skip
    assert any("stands already in solace/other.yaml" in line for line in lines)
    assert any('campaign: is "sleep", but the file\'s place says "other"' in line for line in lines)


def test_a_document_without_a_good_id_is_read_for_its_other_problems(tmp_path: Path) -> None:
    found = folder(tmp_path, **{"solace__sleep.yaml": "campaign: 7\ncurrency: EURO\n"})
    assert sorted(problem.path for problem in found.problems) == ["advertiser", "campaign", "currency"]


def test_what_a_broken_file_holds_is_not_missed_elsewhere(tmp_path: Path) -> None:
    campaign = CAMPAIGN.replace(
        "[]", "\n  - {id: a, priority: house, pricing: {model: cpm, amount: '0'}, targeting: "
    )
    found = folder(
        tmp_path,
        **{
            "publishers__lumen.yaml": PUBLISHER.replace("EUR", "EURO"),
            "solace__sleep.yaml": campaign + "{placements: [lumen/feed, lumen/fed]}}\n",
        },
    )
    (first, second) = said(found)
    assert first.startswith("publishers/lumen.yaml: currency: ")
    assert 'there is no placement "lumen/fed"; did you mean "lumen/feed"?' in second


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("members_file: ../../secret.csv", "is not the name of a file beside this one"),
        ("members_file: /etc/passwd", "is not the name of a file beside this one"),
        ("members_file: ..", "is not the name of a file beside this one"),
        ("members_file: absent.csv", "cannot be read"),
        ("members_file: 7", "is not the name of a file"),
        ("members_file: good.csv\nusers: [a]", "name the members in one of them"),
        ("members_file: bad.csv", "it is not a CSV file in UTF-8"),
    ],
)
def test_members_files_that_are_refused(tmp_path: Path, line: str, message: str) -> None:
    audiences = tmp_path / "audiences"
    audiences.mkdir()
    (audiences / "bad.csv").write_bytes(b"\xff\xfe\n")
    (audiences / "good.csv").write_text("u-1\n", encoding="utf-8")
    text = f"audience: x\nadvertiser: solace\nuser_space: lumen\n{line}\n"
    found = folder(tmp_path, **{"audiences__x.yaml": text, "solace__sleep.yaml": CAMPAIGN})
    (problem,) = found.problems
    assert (problem.path, problem.document) == ("members_file", "audiences/x.yaml")
    assert message in problem.message


def test_a_members_file_is_read(tmp_path: Path) -> None:
    csv = 'user_id,since\nu-1,2026\n\n"u,2",2026\n u-3 \n'
    text = "audience: x\nadvertiser: solace\nuser_space: lumen\nmembers_file: m.csv\n"
    found = folder(
        tmp_path, **{"audiences__x.yaml": text, "audiences__m.csv": csv, "solace__sleep.yaml": CAMPAIGN}
    )
    assert said(found) == []
    (audience,) = [draft for draft in found.drafts if draft.kind == "audience"]
    assert audience.users == ("u-1", "u,2", "u-3")
    assert "users" not in audience.body


def test_a_change_of_members_changes_the_digest(tmp_path: Path) -> None:
    text = "audience: x\npublisher: lumen\nusers: "
    files = {"publishers__lumen.yaml": PUBLISHER}
    digests = []
    for users in ("[a, b]", "[b, a]", "[a]", "[]"):
        found = folder(tmp_path, **files, **{"audiences__x.yaml": text + users})
        digests += [draft.digest for draft in found.drafts if draft.kind == "audience"]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_an_owner_is_of_one_kind(tmp_path: Path) -> None:
    campaign = CAMPAIGN.replace("solace", "lumen")
    advertiser = "advertiser: lumen\n"
    found = folder(
        tmp_path,
        **{
            "publishers__lumen.yaml": PUBLISHER,
            "lumen__advertiser.yaml": advertiser,
            "lumen__sleep.yaml": campaign,
        },
    )
    (line,) = said(found)
    assert "share their ids" in line
