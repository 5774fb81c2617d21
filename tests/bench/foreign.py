"""Annotation files of other projects, and sertool's own in their validators.

    python tests/bench/foreign.py FOLDER...

Reads every annotation file below the folders, for example the unpacked source archives of praatio, tgt, pympi-ling,
srt, webvtt-py and pyannote.database, which ship their test files, and prints what cannot be read. With
label_studio_sdk installed, tasks for Label Studio are checked by its own validator.
"""

import argparse
import collections
import io
import json
from pathlib import Path

from report import header

from sertool.errors import UsageError
from sertool.plugins import load_plugins
from sertool.testing.formats import TABLE, sample_recording

CONFIGURATION = """<View><Audio name="audio" value="$audio"/>
<Labels name="emotion" toName="audio"><Label value="angry"/><Label value="happy"/></Labels>
<TextArea name="text" toName="audio" perRegion="true"/></View>"""


def read(folders: list[Path]) -> None:
    plugins = load_plugins()
    forms = [plugins.get("formats", name) for name in plugins.names("formats") if name not in ("whisper", "audacity")]
    counts: dict[str, collections.Counter[str]] = {}
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        form = next((form for form in forms if form.read and form.matches(path) and form.name != "csv"), None)
        if form is None:
            continue
        count = counts.setdefault(form.name, collections.Counter())
        try:
            segments = form.read(path)
            count["read"] += 1
            count["segments"] += len(segments)
        except UsageError as error:
            count["refused"] += 1
            print(f"refused: {error}")
    print("\n| format | files read | segments | refused |\n|---|---|---|---|")
    for name, count in counts.items():
        print(f"| {name} | {count['read']} | {count['segments']} | {count['refused']} |")


def validate() -> None:
    try:
        from label_studio_sdk.label_interface import LabelInterface
    except ImportError:
        print("\nlabel_studio_sdk is not installed: its validator was not asked")
        return
    stream = io.StringIO()
    writer = load_plugins().get("formats", "labelstudio").open(stream, TABLE)
    writer.write(sample_recording("a.wav", 0))
    writer.close()
    (task,) = json.loads(stream.getvalue())
    interface = LabelInterface(CONFIGURATION)
    for prediction in task["predictions"]:
        errors = interface.validate_prediction(prediction, return_errors=True)
        print(f"\nLabel Studio's validator: {len(prediction['result'])} regions, errors: {errors or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path)
    header()
    read(parser.parse_args().folders)
    validate()


if __name__ == "__main__":
    main()
