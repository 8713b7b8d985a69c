"""`python -m tfeff.pack --dataset=folder:DIR --out=DIR2`: pack a dataset into large files, read as records:DIR2."""

from contextlib import ExitStack

from absl import flags

from tfeff import cli
from tfeff.reporting.terminal import say


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
    flags.DEFINE_string("data_dir", None, "Directory of datasets that TensorFlow Datasets has prepared.")
    flags.DEFINE_integer("shard_megabytes", 256, "Approximate size of a file; the last one is smaller.", lower_bound=1)
    flags.DEFINE_bool(
        "further_classes", False, "Allow classes that the training split lacks, for the task embedding alone."
    )
    flags.DEFINE_bool("overwrite", False, "Replace the records of an earlier call.")


def main(argv: list[str]) -> None:
    """Packs a dataset."""
    given = flags.FLAGS
    from tfeff.data.contents import Contents, text
    from tfeff.data.images.unreadable import IN_RUN, unreadable_images
    from tfeff.data.sources import packing
    from tfeff.data.splits import ALL
    from tfeff.reporting.progress import Bar

    source = packing.open_source(given.dataset, further_classes=given.further_classes, data_dir=given.data_dir)
    splits = (ALL,) if source.drawn else source.splits
    say(text({split: Contents.of(source.load(split)) for split in splits}), error=True)
    with ExitStack() as shown:
        bars = dict[str, Bar]()

        def show(task: str, done: int, total: int) -> None:
            if task not in bars:
                shown.close()
                bars[task] = shown.enter_context(Bar(f"{source.name}: {task}", total, "images"))
            bars[task].show(done)

        packed = packing.pack(
            source,
            given.out,
            shard_bytes=given.shard_megabytes << 20,
            overwrite=given.overwrite,
            progress=show,
        )
    if packed.undecodable:
        advice = f"they are packed, too; {IN_RUN}"
        say(unreadable_images(source.name, packed.images, packed.undecodable, advice), error=True)
    noun = "file" if packed.shards == 1 else "files"
    say(f"records:{given.out}: {packed.images:,} images, {packed.size / 1e6:,.0f} MB in {packed.shards:,} {noun}")


if __name__ == "__main__":
    define_flags()
    cli.run(main)
