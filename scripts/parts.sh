#!/usr/bin/env bash
# Gets the real programs that the tests run against, each at a pinned version,
# and does nothing for those that are here already. Without arguments it gets
# all of them; with names (scripts/parts.sh golangci-lint) only those.
#
# Programs of the distribution come from apt, everything else is kept in
# ~/.cache/akprox/parts, or where $AKPROX_PARTS says. Whatever cannot be had is
# named at the end, with the reason, and the exit status is 1.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
parts=${AKPROX_PARTS:-$HOME/.cache/akprox/parts}
recipes=$root/scripts/parts
missing=()

# Build settings of the caller must not change what a part is.
export GOTOOLCHAIN=local GOFLAGS=-buildvcs=false GOWORK=off

say() { printf 'parts: %s\n' "$*" >&2; }

# what to look for : the Debian packages that bring it
distribution=(
	/usr/sbin/nginx:nginx
	/usr/lib/nginx/modules/ngx_http_set_misc_module.so:libnginx-mod-http-set-misc
	/usr/bin/caddy:caddy
	/usr/sbin/haproxy:haproxy
	/usr/bin/redis-server:redis-server
	/usr/bin/promtool:prometheus
	/usr/bin/chromium:chromium
	/usr/share/fonts/truetype/liberation:fonts-liberation
	wrk:wrk
	systemd-analyze:systemd
	openssl:openssl
	jq:jq
	curl:curl
	gcc:gcc,libc6-dev
	node:nodejs
	npm:npm
)

# absent prints the packages of the list above whose programs are not there.
absent() {
	local entry what
	for entry in "${distribution[@]}"; do
		what=${entry%%:*}
		case $what in
		/*) [ -e "$what" ] || tr , '\n' <<<"${entry#*:}" ;;
		*) command -v "$what" >/dev/null || tr , '\n' <<<"${entry#*:}" ;;
		esac
	done
}

apt_parts() {
	local packages as_root=() policy=/usr/sbin/policy-rc.d made_policy= status=0
	mapfile -t packages < <(absent)
	[ ${#packages[@]} -gt 0 ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "no apt-get here; install by hand what brings: ${packages[*]}"
		return 1
	fi
	if [ "$(id -u)" != 0 ]; then
		if ! command -v sudo >/dev/null; then
			echo "neither root nor sudo; as root: apt-get install --no-install-recommends ${packages[*]}"
			return 1
		fi
		as_root=(sudo)
	fi
	# Installed services would start at once, on ports of every interface.
	if [ ! -e $policy ]; then
		printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
		"${as_root[@]}" chmod +x $policy
		made_policy=yes
	fi
	"${as_root[@]}" apt-get update -q &&
		"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
			apt-get install -q -y --no-install-recommends "${packages[@]}" || status=$?
	[ -z $made_policy ] || "${as_root[@]}" rm -f $policy
	[ $status = 0 ] || return $status
	mapfile -t packages < <(absent)
	[ ${#packages[@]} = 0 ] || { echo "installed, but not where it is looked for: ${packages[*]}"; return 1; }
}

# pinned fails unless the program $1 was built from module $2 at version $3.
pinned() {
	go version -m "$1" | awk -v m="$2" -v v="$3" '($1 == "mod" || $1 == "dep") && $2 == m && $3 == v { ok = 1 } END { exit !ok }' ||
		{ echo "$1 was not built from $2 at $3"; return 1; }
}

# slim_lego puts a lego without its DNS hosts into the module of the folder $1.
slim_lego() {
	local from
	from=$(cd "$1" && go list -m -f '{{.Dir}}' github.com/go-acme/lego/v5)
	if [ -z "$from" ]; then
		(cd "$1" && go mod download github.com/go-acme/lego/v5) || return 1
		from=$(cd "$1" && go list -m -f '{{.Dir}}' github.com/go-acme/lego/v5)
	fi
	cp -r "$from" "$1/lego" && chmod -R u+w "$1/lego" || return 1
	rm "$1"/lego/providers/dns/*.go
	mv "$1/dns.go.txt" "$1/lego/providers/dns/dns.go"
	(cd "$1" && go mod edit -replace github.com/go-acme/lego/v5=./lego)
}

# go_part builds: name, target file, module@version, package, tags, scratch folder.
go_part() {
	local name=$1 target=$2 module=${3%@*} version=${3##*@} package=$4 tags=$5 scratch=$6 cgo=0 recipe=$1 flags='-s -w'
	[ "$package" = . ] && package=$module || package=$module/$package
	[ -z "$tags" ] || cgo=1 # the only part with tags has SQLite in it
	if [ "$module" = k8s.io/kubernetes ]; then # one recipe for all its programs, which must know their version
		recipe=kubernetes
		flags+=$(printf ' -X k8s.io/component-base/version.%s' "gitVersion=$version" gitMajor=1 gitMinor="$(cut -d. -f2 <<<"$version")" gitTreeState=clean)
	fi
	if [ -d "$recipes/$recipe" ]; then
		cp -r "$recipes/$recipe/." "$scratch"
		[ "$name" != traefik ] || slim_lego "$scratch" || return 1
		(cd "$scratch" && CGO_ENABLED=$cgo go build -tags "$tags" -ldflags "$flags" -o "$scratch/built/$name" "$package") || return 1
	else
		(cd "$scratch" && CGO_ENABLED=$cgo GOBIN=$scratch/built go install -ldflags '-s -w' "$package@$version") || return 1
		[ "$name" = "${package##*/}" ] || mv "$scratch/built/${package##*/}" "$scratch/built/$name" || return 1
	fi
	pinned "$scratch/built/$name" "$module" "$version" && mv "$scratch/built/$name" "$target"
}

# npm_part installs the locked packages of the folder of that name: name, target, scratch folder.
npm_part() {
	mkdir "$3/built" && cp "$recipes/$1"/package*.json "$3/built" || return 1
	(cd "$3/built" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) && mv "$3/built" "$2"
}

# files_part takes files out of modules, as the recipe's files.txt says, and
# runs the recipe's program over swagger.json: name, target, scratch folder.
# The recipe's go.sum holds the modules to what they were.
files_part() {
	local made module path from file found
	cp -r "$recipes/$1/." "$3" && mkdir "$3/built" || return 1
	while read -r made module path; do
		case $made in '' | '#'*) continue ;; esac
		from=$(cd "$3" && go mod download -json "$module") || { echo "$from"; return 1; }
		from=$(jq -r .Dir <<<"$from")
		eval "found=('$from'/$path)" # a pattern of ours; what it does not find, cat names
		for file in "${found[@]}"; do
			[ "${#found[@]}" = 1 ] || echo ---
			cat "$file" || return 1
			echo
		done >"$3/built/$made"
	done <"$3/files.txt"
	(cd "$3" && go run . built/swagger.json built/schemas) && rm "$3/built/swagger.json" && mv "$3/built" "$2"
}

# part gets one line of parts.txt: name, version, source, package, tags.
part() {
	local name=$1 target=$parts/$1-$2 scratch status=0 began=$SECONDS log=$parts/$1.log
	[ ! -e "$target" ] || return 0
	exec 9>"$parts/$name.lock"
	if command -v flock >/dev/null; then flock 9; fi
	[ ! -e "$target" ] || return 0 # built by another run meanwhile
	say "$name $2 (takes a while; see $log)"
	rm -rf "$parts/$name."?????? # scratch folders of interrupted runs
	# In the folder of the parts, so that the last step is a rename.
	scratch=$(mktemp -d "$parts/$name.XXXXXX")
	if [ "$3" = npm ] || [ "$3" = files ]; then
		"$3_part" "$name" "$target" "$scratch" >"$log" 2>&1 || status=$?
	else
		go_part "$name" "$target" "$3" "$4" "${5:-}" "$scratch" >"$log" 2>&1 || status=$?
	fi
	rm -rf "$scratch"
	exec 9>&-
	[ $status = 0 ] && say "$name $2 done in $((SECONDS - began)) s"
	return $status
}

# why remembers that part $1 is missing and shows its log $2, without the middle.
why() {
	missing+=("$1")
	say "$1 FAILED, from $2:"
	if [ "$(wc -l <"$2")" -le 20 ]; then
		cat "$2" >&2
	else
		{ head -n 8 "$2" && echo ... && tail -n 11 "$2"; } >&2
	fi
}

wanted() {
	local name
	[ ${#only[@]} -gt 0 ] || return 0
	for name in "${only[@]}"; do [ "$name" != "$1" ] || return 0; done
	return 1
}

only=("$@")
mkdir -p "$parts"
if wanted apt; then
	apt_parts >"$parts/apt.log" 2>&1 || why apt "$parts/apt.log"
fi
while read -r name version source package tags; do
	case $name in '' | '#'*) continue ;; esac
	wanted "$name" || continue
	part "$name" "$version" "$source" "${package:-}" "${tags:-}" </dev/null || why "$name" "$parts/$name.log"
done <"$root/e2e/parts/parts.txt"

if [ ${#missing[@]} -gt 0 ]; then
	say "could not get: ${missing[*]} (reasons above)"
	exit 1
fi
