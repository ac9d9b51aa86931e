#!/usr/bin/env bash
# Runs benchmarks/accelerator.py where there is no network, with what .carry holds of
# benchmarks/pack_accelerator.py and of an earlier run; docs/accelerators.md says how.
#   bash benchmarks/on_accelerator.sh OUT [option of the queue]...
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "$1")
shift
python=${PYTHON:-python3}
# Stays from one call to the next, where the machine does.
scratch=${SCRATCH:-$HOME/.cache/accelerator}
mkdir -p "$out" "$scratch/compiled" "$scratch/records"

# For the next packing: before anything that was carried can be found.
"$python" -m pip list --format=json --disable-pip-version-check >"$out/installed.json"
wheels=(.carry/wheels/*.whl)
if [[ -e ${wheels[0]} ]]; then
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
    --target "$scratch/site" "${wheels[@]}"
fi
export PYTHONPATH="$scratch/site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
SPHERICAL_VAE_COMMIT=$(cat .carry/commit)
export SPHERICAL_VAE_COMMIT

# Here rather than in every job.
"$python" -c "import spherical_vae.training.trainer, spherical_vae.train"

# What an earlier run brought back.
parts=(.carry/compiled.tar.gz.*)
if [[ -e ${parts[0]} ]]; then cat "${parts[@]}" | tar xz -C "$scratch/compiled"; fi
if [[ -e .carry/records.tar.gz ]]; then tar xzf .carry/records.tar.gz -C "$scratch/records"; fi

status=0
"$python" benchmarks/accelerator.py --corpora=.carry/corpora --out="$scratch/records" \
  --compilation_cache="$scratch/compiled" \
  --archive="$out/records.tar.gz" "$@" 2>&1 | tee "$out/log.txt" || status=$?
# Half of an archive is of no use: compiled programs come along only where all of them fit.
tar czf "$scratch/compiled.tar.gz" -C "$scratch/compiled" .
if (($(du -sm "$out" "$scratch/compiled.tar.gz" | awk '{sum += $1} END {print sum}') < 60)); then
  split -b 15m "$scratch/compiled.tar.gz" "$out/compiled.tar.gz."
else
  echo "compiled programs stay here: together with the rest they are more than 60 MB" >&2
fi
exit "$status"
