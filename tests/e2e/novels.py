import lzma

from group import PROJECT


def read_novel(name, num_characters):
    with lzma.open(PROJECT / f"tests/data/text/{name}.txt.xz", "rt", encoding="utf-8") as file:
        return file.read(num_characters)
