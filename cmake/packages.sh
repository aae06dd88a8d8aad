# Sourced by ./run: what the machine lacks, and getting it from the system's package manager.

# The compiler finds the header, also where package managers put things that CMake knows.
has_header() {
  printf '#include <%s>\n' "$1" | "${CXX:-c++}" -x c++ -std=c++20 -I/usr/include/eigen3 -I/usr/local/include/eigen3 \
    -I/opt/homebrew/include -I/opt/homebrew/include/eigen3 -E - >/dev/null 2>&1
}

# The newest clang++ from 16 on that has the sanitizers' libraries; nothing when there is none.
find_clang() {
  for candidate in clang++-20 clang++-19 clang++-18 clang++-17 clang++-16 clang++; do
    has $candidate || continue
    version=$($candidate -dumpversion | cut -d. -f1)
    [ "$version" -ge 16 ] 2>/dev/null || continue
    if echo 'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }' |
      $candidate -x c++ - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null; then
      echo $candidate
      return
    fi
  done
}

# missing NEED...: those needs that this machine does not meet.
missing() {
  for need in "$@"; do
    case $need in
      compiler)     has "${CXX:-c++}" ;;
      eigen)        [ -n "${GRADUS_EIGEN_INCLUDE_DIR:-}" ] || has_header Eigen/Core ;;
      zlib)         has_header zlib.h ;;
      catch2)       has_header catch2/catch_all.hpp || has_header catch2/catch.hpp ;;
      benchmark)    has_header benchmark/benchmark.h ;;
      clang_format) has clang-format-14 || clang-format --version 2>/dev/null | grep -q 'version 14\.' ;;
      clothing)     [ -e /usr/share/datasets/fashion-mnist ] || ! has apt-get ;;
      clang)        [ -n "$(find_clang)" ] ;;
      aarch64)      has aarch64-linux-gnu-g++ && { has qemu-aarch64 || has qemu-aarch64-static; } ;;
      venv)         python3 -c 'import venv, ensurepip' 2>/dev/null ;;
      *)            has "$need" ;;
    esac || echo "$need"
  done
}

# package MANAGER NEED: what the need is called there; nothing where that manager does not have it.
package() {
  case $1:$2 in
    *:cmake | *:ccache | *:doxygen | *:valgrind | apt-get:catch2 | pacman:catch2 | brew:catch2 | apt-get:python3 | dnf:python3) echo "$2" ;;
    apt-get:compiler) echo g++ ;;     dnf:compiler) echo gcc-c++ ;;      pacman:compiler) echo gcc ;;
    apt-get:ninja) echo ninja-build ;;  dnf:ninja) echo ninja-build ;;   *:ninja) echo ninja ;;
    pacman:python3 | brew:python3) echo python ;;
    apt-get:eigen) echo libeigen3-dev ;;  dnf:eigen) echo eigen3-devel ;;  *:eigen) echo eigen ;;
    apt-get:zlib) echo zlib1g-dev ;;  dnf:zlib) echo zlib-devel ;;       *:zlib) echo zlib ;;
    dnf:catch2) echo catch-devel ;;
    apt-get:benchmark) echo libbenchmark-dev ;;  dnf:benchmark) echo google-benchmark-devel ;;
    pacman:benchmark) echo benchmark ;;  brew:benchmark) echo google-benchmark ;;
    apt-get:clang) echo clang-19 libclang-rt-19-dev ;;  dnf:clang | pacman:clang) echo clang compiler-rt ;;  brew:clang) echo llvm ;;
    apt-get:aarch64) echo g++-aarch64-linux-gnu qemu-user ;;
    apt-get:venv) echo python3-venv ;;
    apt-get:qemu-x86_64) echo qemu-user ;;  dnf:qemu-x86_64) echo qemu-user ;;  pacman:qemu-x86_64) echo qemu-user ;;
    apt-get:clang_format) echo clang-format-14 ;;
    apt-get:clothing) echo dataset-fashion-mnist ;;
  esac
}

# optionally NEED...: installs what is missing when that is allowed without asking, and goes on in any case.
optionally() {
  wanted= manager=
  lacks=$(missing "$@")
  [ -n "$lacks" ] || return 0
  for candidate in apt-get dnf pacman brew; do
    if has $candidate; then manager=$candidate; break; fi
  done
  [ -n "$manager" ] || return 0
  for lacking in $lacks; do wanted="$wanted $(package $manager "$lacking")"; done
  wanted=$(echo $wanted)
  case $manager in
    apt-get) install="apt-get install -y --no-install-recommends" ;;
    dnf)     install="dnf install -y" ;;
    pacman)  install="pacman -S --needed --noconfirm" ;;
    brew)    install="brew install" ;;
  esac
  [ -n "$wanted" ] || return 0
  as_root=
  if [ $manager != brew ] && [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then
      say "Not installed: $wanted. This installs it:  sudo $install $wanted"
      return 0
    fi
    as_root="sudo -n"
  fi
  say "Installing $wanted"
  if [ $manager = apt-get ]; then
    as_root="$as_root env DEBIAN_FRONTEND=noninteractive"
    $as_root apt-get update -qq >&2 || say "apt-get update failed; trying with the lists that are here"
  fi
  # One package that this system does not have must not keep the others away.
  $as_root $install $wanted >&2 || for one in $wanted; do $as_root $install $one >&2 || say "$one was not installed"; done
}

# need NEED...: the same, but stops when something is still missing that CMake cannot download.
need() {
  optionally "$@"
  for lacking in $(missing "$@"); do
    case $lacking in
      eigen | catch2 | benchmark) say "$lacking is not installed; CMake will try to download it" ;;
      *) say "$lacking is missing. Install: ${wanted:-$lacking}"; exit 1 ;;
    esac
  done
}

# The four files of Fashion-MNIST into data/fashion-mnist, where no package has brought them. Their contents are checked.
fetch_clothing() {
  folder=data/fashion-mnist
  from=${GRADUS_FASHION_MNIST_URL:-http://fashion-mnist.s3-website.eu-central-1.amazonaws.com}
  [ ! -e /usr/share/datasets/fashion-mnist ] || return 0
  while read -r sum name; do
    [ ! -e "$folder/$name" ] || continue
    mkdir -p "$folder"
    say "Downloading $from/$name.gz ..."
    { curl -fsSL --max-time 600 "$from/$name.gz" || wget -qO- "$from/$name.gz"; } 2>/dev/null |
      gzip -dc >"$folder/$name.part" 2>/dev/null || true
    if [ "$(sha256 "$folder/$name.part")" = "$sum" ]; then
      mv "$folder/$name.part" "$folder/$name"
    else
      rm -f "$folder/$name.part"
      say "Fashion-MNIST could not be downloaded from $from: no such file, or not what was expected."
      return 0
    fi
  done <<'END'
c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888 train-images-idx3-ubyte
bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9 train-labels-idx1-ubyte
5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b t10k-images-idx3-ubyte
0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34 t10k-labels-idx1-ubyte
END
}
sha256() { { sha256sum "$1" 2>/dev/null || shasum -a 256 "$1"; } | cut -d' ' -f1; }
