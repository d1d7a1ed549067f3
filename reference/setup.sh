#!/bin/sh
# Makes the pinned Python environment that writes the golden files: reference/setup.sh PATH [PYTHON]
# PATH is the virtual environment to create (5.7 GB, outside the repository); PYTHON defaults to python3.11.
set -eu
if [ $# -lt 1 ]; then
  echo "usage: reference/setup.sh PATH [PYTHON]" >&2
  exit 2
fi
venv=$1
python=${2:-python3.11}
here=$(cd "$(dirname "$0")" && pwd)
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/pip" install --quiet --requirement "$here/requirements.txt"
"$venv/bin/pip" install --quiet --no-deps --requirement "$here/requirements-imagereward.txt"
"$venv/bin/pip" install --quiet --no-deps --upgrade --target "$venv/legacy" --requirement "$here/requirements-legacy.txt"
echo "ready: $venv/bin/python reference/make_golden.py"
