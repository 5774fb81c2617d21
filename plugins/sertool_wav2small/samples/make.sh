#!/bin/sh
# Synthesise the sample clips, named by how they are spoken: a machine voice acts no emotion (espeak-ng, sox): sh make.sh
set -eu
cd "$(dirname "$0")"
say() { # name, espeak-ng options..., text
    name=$1
    shift
    espeak-ng -w "$name.tmp.wav" "$@"
    sox -R "$name.tmp.wav" -r 16000 -b 16 "$name.wav" norm -3
    rm "$name.tmp.wav"
}
say plain -v en-gb -s 120 -p 30 -a 60 "The train to the coast leaves at half past nine."
say fast-high -v en-us+f3 -s 190 -p 85 -a 180 "I got it! I really got it, can you believe that?"
say slow-low -v en-gb+m3 -s 95 -p 15 -a 40 "There is nobody left to call any more."
say fast-german -v de+m7 -s 200 -p 60 -a 200 "Das habe ich dir schon hundert Mal gesagt!"
