"""`sertool label`: label recordings with emotion."""

from typing import Any

import click

from sertool._about import DEFAULT_MODEL
from sertool.cli import options
from sertool.cli.elsewhere import here


@click.command(
    epilog="""\b
What a row is (--by):
  file           the whole recording: the mean over windows of its speech
  window         a window every --hop of the recording, as it is, with pauses
  segment        each of --segments, or each stretch of speech that is found
  speaker        the mean over a speaker's segments, weighted by duration
  channel        each channel by itself, like file
  speech-window  the windows that file averages: 8 s of speech each, which may
                 span pauses
\b
Columns: file; start and end in seconds; track, channel, speaker and what given
segments say, where there are such; the outputs of the model; seconds of speech;
error. Models: mobile and wav2small give arousal, dominance and valence, each
about 0 to 1, 0.5 is neutral. mobile-emotion, mobile-emotion-free and
wav2small-emotion give the most likely of angry, happy, neutral and sad as
emotion, and a probability for each. mobile is the most accurate; wav2small is
several times as fast. confidence is the calibrated probability that emotion is
right; arousal.low and arousal.high hold 80 % of true values; typical below 0.5
means that the audio is unlike the speech that the model was trained on.
\b
Formats: csv, jsonl, parquet, xlsx, sqlite; srt, vtt, textgrid, eaf, audacity
(one file per recording); rttm, labelstudio. Segments are read from csv, srt,
vtt, textgrid, eaf, audacity, rttm, ctm and whisper's json.
\b
Exit codes: 0 all labelled, 1 some failed (their rows say why), 2 wrong usage,
3 disk full, 130 interrupted.
\b
Examples:
  sertool label call.mp3
  sertool label interviews/ -o labels.csv
  sertool label -m mobile-emotion interviews/ -o emotions.csv
  sertool label talk.wav --windows --hop 2 --format jsonl
  sertool label calls/ --channel each -o calls.csv
  sertool label talk.wav --by segment -o talk.TextGrid
  sertool label notes/ -m mobile-emotion --unsure 0.6 -o sure.csv
  sertool label calls/ --segments turns.rttm --relative-to speaker -o own.csv
  sertool label film.mp4 -m mobile-emotion --segments film.srt -o film.vtt
  sertool label calls/ --segments turns.rttm --by speaker -o speakers.csv
  find . -name '*.wav' -print0 | sertool label - -o labels.csv --resume
  sertool label s3://bucket/calls/ -o labels.csv
  sertool label calls/ -o labels.csv --shard 3/48      # then: sertool merge labels.csv"""
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option(
    "-m", "--model", default=DEFAULT_MODEL, show_default=True, help="Name of a model, bundle folder or model file."
)
@click.option("--variant", help="Which of the bundle's files to run.  [default: set by the bundle]")
@options.runtime("set by the variant")
@click.option(
    "-o",
    "--output",
    type=options.OUTPUT,
    metavar="PATH|URL",
    help="Write to this file, or to this folder a file per recording.  [default: standard output]",
)
@click.option(
    "--format",
    "form",
    metavar="NAME",
    help="[default: from the output's extension; csv on standard output]",
)
@options.dialect
@options.template
@click.option(
    "--by",
    type=click.Choice(["file", "window", "segment", "speaker", "channel", "speech-window"]),
    help="What a row is.  [default: segment with --segments, else file]",
)
@click.option("--windows", is_flag=True, help="Short for --by window.")
@click.option(
    "--window",
    type=click.FloatRange(min=0, min_open=True),
    help="Window length in seconds.  [default: set by the model, 8]",
)
@click.option(
    "--hop",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds between window starts, at most the window length.  [default: the window length]",
)
@options.channel
@options.track
@options.segments
@options.segments_format
@options.tier
@click.option(
    "--short",
    type=click.Choice(["repeat", "error"]),
    default="repeat",
    show_default=True,
    help="Segments shorter than the model takes: repeat them (column repeats), or an error.",
)
@click.option(
    "--segmenter",
    metavar="NAME[:key=value,...]",
    help="Find segments with this: vad, pyannote or a plugin's.  [default: vad]",
)
@click.option(
    "--unsure",
    metavar="P",
    type=click.FloatRange(0, 1),
    help="Emotion is unsure where its confidence is below P, and other where the audio is unlike speech trained on.",
)
@click.option(
    "--relative-to",
    metavar="speaker|file|FILE",
    help="Add NAME.relative for each output: its distance, in their spread, from the median of the rows of the same "
    "speaker (with --segments, all rows are written at the end), of the file, or of a table written before.",
)
@click.option("--no-vad", is_flag=True, help="Do not skip non-speech.")
@click.option("--report", type=options.FILE, help="Also write a page to look at the labels: see sertool report.")
@click.option("--embed", is_flag=True, help="Put the recordings into the page of --report.")
@click.option(
    "--plot",
    type=options.FILE,
    help="Also draw them (png, pdf, svg; needs matplotlib): over the time of one recording, or a map of several.",
)
@options.jobs
@click.option(
    "--executor",
    type=click.Choice(["local", "dask"]),
    help="Where: threads of this process, or a Dask cluster.  [default: local, dask with --scheduler]",
)
@click.option(
    "--scheduler", metavar="ADDRESS", help="Of a Dask cluster, as tcp://host:8786; without, one on this machine."
)
@click.option("--ordered", is_flag=True, help="Write rows in the order of the files, not as they finish.")
@options.pattern
@click.option(
    "--shard",
    metavar="I/N",
    help="Label only part I of N, from 1, into a file beside the output; continues by itself. See sertool merge.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run: label only new, changed and failed files.")
@click.option("--restart", is_flag=True, help="Overwrite an existing output.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary; failures stay in the table.")
def label(**arguments: Any) -> int:
    """Label recordings with emotion.

    PATH is a file, a folder (searched recursively), a tar or zip archive, a pattern such as '*.wav', a URL
    (https://..., s3://...; with the extra sertool[remote]), or - for standard input: a list of these (one per line, or
    separated by NUL) or a recording. Reads wav, flac, ogg, opus, mp3 and more at any rate;
    the extra sertool[av] adds m4a, aac, wma and video. Recordings of up to 8 s are labelled whole. In longer ones,
    non-speech is removed and the rest is labelled in windows of 8 s of speech, averaged by duration. A recording of
    more than one second in which nothing sounds like speech gets an error instead of a label.
    """
    from sertool.cli.run.label import label

    with here(arguments["output"], arguments["resume"], arguments["restart"], arguments["shard"]) as output:
        return label(**arguments | {"output": output})
