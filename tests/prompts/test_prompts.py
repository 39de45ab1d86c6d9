import pytest

from histoproto.errors import ConfigError
from histoproto.prompts.reader import read_prompts, shipped_prompts
from histoproto.taxonomy import BCSS_WSSS, TAXONOMIES, Taxonomy

PAIR = Taxonomy("pair", ("TUM", "STR"), ("Tumour", "Stroma"), ((1, 1, 1), (2, 2, 2)))


@pytest.fixture
def written(tmp_path):
    def write(text):
        file = tmp_path / "prompts.yaml"
        file.write_text(text, encoding="utf-8")
        return str(file)

    return write


@pytest.mark.parametrize("name", list(TAXONOMIES))
def test_every_data_set_has_a_file_with_three_or_more_phrasings_of_each_class(name):
    prompts = read_prompts(None, TAXONOMIES[name])
    assert len(prompts) == len(TAXONOMIES[name])
    assert min(map(len, prompts)) >= 3
    everything = [sentence for sentences in prompts for sentence in sentences]
    assert len(set(everything)) == len(everything), "the same sentence cannot tell two classes apart"


def test_the_phantom_has_a_file_of_its_own_for_the_classes_of_bcss_wsss():
    assert {"phantom", *TAXONOMIES} == set(shipped_prompts())
    assert read_prompts("phantom", BCSS_WSSS) != read_prompts(None, BCSS_WSSS)


def test_classes_come_in_the_taxonomys_order_by_name_or_title_and_lines_are_joined(written):
    file = written("stroma:\n  - wavy fibres\nTUM:\n  - >\n    nests of\n    cells\n  - large nuclei\n")
    assert read_prompts(file, PAIR) == (("nests of cells", "large nuclei"), ("wavy fibres",))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("TUM: [a]\n", "no sentences for STR; pair has TUM, STR"),
        ("TUM: [a]\nSTR: []\n", "STR needs a list of one or more sentences"),
        ("TUM: [a]\nSTR: fibres\n", "STR needs a list of one or more sentences, not 'fibres'"),
        ("TUM: [a]\nSTR: ['  ']\n", "STR holds '  ', which is no sentence"),
        ("TUM: [a]\nSTR: [7]\n", "STR holds 7, which is no sentence"),
        ("TUM: [a]\nSTR: [b]\nFAT: [c]\n", "unknown class 'FAT'; pair has TUM, STR"),
        ("TUM: [a]\nSTR: [b]\nTumour: [c]\n", "TUM occurs twice, as Tumour again"),
        ("- a\n", "holds no prompts"),
        ("", "holds no prompts"),
        ("TUM: [a\n", "is not valid YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_sentence_that_names_it(text, sentence, written):
    file = written(text)
    with pytest.raises(ConfigError, match=r"prompts\.yaml") as error:
        read_prompts(file, PAIR)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_and_a_taxonomy_without_one_end_in_a_way_out():
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such prompt file; give a path, or one of bcss-wsss"):
        read_prompts("gone.yaml", PAIR)
    with pytest.raises(ConfigError, match=r"no prompts are shipped for pair .* name it with --prompts"):
        read_prompts(None, PAIR)
