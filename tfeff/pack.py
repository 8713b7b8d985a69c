"""`python -m tfeff.pack --dataset=folder:DIR --out=DIR2`: pack a dataset into a few large files, read as records:DIR2."""

from absl import flags

from tfeff import cli
from tfeff.reporting.terminal import say

LISTED = 10
"""Images that cannot be decoded and are listed, at most."""


def define_flags() -> None:
    """Defines this verb's flags."""
    flags.DEFINE_string(
        "dataset",
        None,
        "Dataset with labels or boxes: folder:DIR, csv:FILE, voc:DIR, yolo:DIR, coco:DIR, tfds:NAME, hf:DIR or "
        "embedded:NAME. All its splits are packed; if it has none, they are drawn when the records are read.",
        required=True,
    )
    flags.DEFINE_string("out", None, "Directory to write; it is complete or absent.", required=True)
    flags.DEFINE_integer("shard_megabytes", 256, "Size of a file, at least; the last one is smaller.", lower_bound=1)
    flags.DEFINE_bool(
        "further_classes", False, "Allow classes that the training split lacks, for the task embedding alone."
    )
    flags.DEFINE_bool("overwrite", False, "Replace the records of an earlier call.")


def main(argv: list[str]) -> None:
    """Packs a dataset."""
    given = flags.FLAGS
    from tfeff.data.contents import Contents, text
    from tfeff.data.sources import packing
    from tfeff.data.splits import ALL
    from tfeff.reporting.progress import Bar

    source = packing.open_source(given.dataset, further_classes=given.further_classes)
    splits = (ALL,) if source.drawn else source.splits
    say(text({split: Contents.of(source.load(split)) for split in splits}), error=True)
    with Bar(source.name, len(source.load(ALL)), "images") as bar:
        packed = packing.pack(
            source,
            given.out,
            shard_bytes=given.shard_megabytes << 20,
            overwrite=given.overwrite,
            progress=lambda done, total: bar.show(done),
        )
    for id_, reason in list(packed.undecodable.items())[:LISTED]:
        say(f"cannot be decoded: {id_}: {reason}", error=True)
    if packed.undecodable:
        say(f"{len(packed.undecodable):,} images cannot be decoded; data.corrupt_images decides about them", error=True)
    say(f"records:{given.out}: {packed.images:,} images, {packed.size / 1e6:,.0f} MB in {packed.shards:,} files")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
