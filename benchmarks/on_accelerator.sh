#!/usr/bin/env bash
# Runs benchmarks/accelerator.py, or after `rows` benchmarks/accelerator_rows.py, where there is no
# network, with what .carry holds of benchmarks/pack_accelerator.py and of an earlier run;
# docs/accelerators.md says how.
#   bash benchmarks/on_accelerator.sh OUT [option of the queue]...
#   bash benchmarks/on_accelerator.sh OUT rows [option or chain]...
set -euo pipefail
cd "$(dirname "$0")/.."
if (($# == 0)); then
  echo "usage: bash benchmarks/on_accelerator.sh OUT [rows] [argument]..." >&2
  exit 2
fi
if [[ ! -e .carry/commit ]]; then
  echo "$PWD/.carry/commit is missing; python benchmarks/pack_accelerator.py makes it" >&2
  exit 2
fi
out=$(realpath "$1")
shift
python=${PYTHON:-python3}
# Stays from one call to the next, where the machine does.
scratch=${SCRATCH:-$HOME/.cache/accelerator}
mkdir -p "$out" "$scratch/compiled" "$scratch/records"

# For the next packing: before anything that was carried can be found.
"$python" -m pip list --format=json --disable-pip-version-check >"$out/installed.json"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
wheels=(.carry/wheels/*.whl)
if [[ -e ${wheels[0]} ]]; then
  # A folder for each choice of wheels: rows of an earlier call may still read theirs.
  site=$scratch/site-$(printf '%s\n' "${wheels[@]}" | cksum | cut -d ' ' -f 1)
  if [[ ! -e $site ]]; then
    rm -rf "$site.part"
    "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
      --target "$site.part" "${wheels[@]}"
    mv "$site.part" "$site"
  fi
  PYTHONPATH="$site:$PYTHONPATH"
fi
SPHERICAL_VAE_COMMIT=$(cat .carry/commit)
export SPHERICAL_VAE_COMMIT

# Here rather than in every job.
"$python" -c "import spherical_vae.training.trainer, spherical_vae.train"

# Unpacks parts of an archive that an earlier run brought home, if they are whole.
unpack() {
  local folder=$1
  shift
  [[ -e $1 ]] || return 0
  # What is there already is as new or newer.
  { cat "$@" | gzip -t && cat "$@" | tar xz --skip-old-files -C "$folder"; } ||
    echo "$1 is damaged: what it had is made anew" >&2
}
unpack "$scratch/compiled" .carry/compiled/*
unpack "$scratch/records" .carry/records.tar.gz

if [[ ${1:-} == rows ]]; then
  shift
  command=(benchmarks/accelerator_rows.py --folder="$scratch/rows" --out="$out" --carried=.carry)
else
  command=(benchmarks/accelerator.py --out="$scratch/records" --archive="$out/records.tar.gz")
fi
"$python" "${command[@]}" --compilation_cache="$scratch/compiled" "$@" 2>&1 | tee "$out/log.txt"
