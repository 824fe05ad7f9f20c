# make install DESTDIR= PREFIX=/usr LIBDIR=/usr/lib/x86_64-linux-gnu: programs, libraries, units, users, manual pages and the default
# configuration.
PREFIX ?= /usr
DESTDIR ?=
LIBDIR ?= $(PREFIX)/lib/$(shell gcc -print-multiarch 2>/dev/null)
CARGO_TARGET_DIR ?= target
bin = $(CARGO_TARGET_DIR)/release
lib = $(CARGO_TARGET_DIR)/loadable
libraries = $(lib)/libnss_hither.so $(lib)/libhither_c.so
version = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
programs = $(bin)/hitherd $(bin)/hither-sorter $(bin)/hither-site $(bin)/hitherctl
units = hitherd.socket hitherd-control.socket hitherd-sorter.socket hitherd-site.socket hitherd.service hither-sorter.service hither-site.service \
	hither-metrics.socket hither-metrics@.service hither-changed@.service
# Services that follow changes of their backends.
examples = nginx haproxy pgbouncer
# Programs that people call, which have completions.
completed = hitherctl hitherd
man3 = libhither.3
man5 = hither.toml.5 hither-table.5
man7 = hither-metrics.7
man8 = hitherd.8 hitherd.socket.8 hither-sorter.8 hither-site.8 nss-hither.8
d = $(DESTDIR)$(PREFIX)

# Cargo knows which files are out of date; `install` uses the existing ones, since root often has no cargo.
all: libraries
	cargo build --release --locked

$(programs):
	cargo build --release --locked

# Libraries that other programs load: libnss_hither.so.2 and libhither.so.1.
libraries $(libraries):
	cargo build --profile loadable --locked -p hither-nss -p hither-capi

install: $(programs) $(libraries)
	install -D -m 755 $(bin)/hitherd $(d)/sbin/hitherd
	install -D -m 755 $(bin)/hither-sorter $(d)/libexec/hither-sorter
	install -D -m 755 $(bin)/hither-site $(d)/libexec/hither-site
	install -D -m 755 $(bin)/hitherctl $(d)/bin/hitherctl
	install -D -m 644 $(lib)/libnss_hither.so $(DESTDIR)$(LIBDIR)/libnss_hither.so.2
	install -D -m 644 $(lib)/libhither_c.so $(DESTDIR)$(LIBDIR)/libhither.so.1
	ln -sf libhither.so.1 $(DESTDIR)$(LIBDIR)/libhither.so
	install -D -m 644 include/hither.h $(d)/include/hither.h
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig
	sed 's|@PREFIX@|$(PREFIX)|; s|@LIBDIR@|$(LIBDIR)|; s|@VERSION@|$(version)|' include/hither.pc.in > $(DESTDIR)$(LIBDIR)/pkgconfig/hither.pc
	install -d $(d)/lib/systemd/system
	for unit in $(units); do sed 's|@PREFIX@|$(PREFIX)|g' systemd/$$unit > $(d)/lib/systemd/system/$$unit; chmod 644 $(d)/lib/systemd/system/$$unit; done
	install -D -m 644 systemd/hither.sysusers $(d)/lib/sysusers.d/hither.conf
	install -D -m 644 systemd/hither-site.sysusers $(d)/lib/sysusers.d/hither-site.conf
	install -D -m 644 systemd/hither.sysctl $(d)/lib/sysctl.d/50-hither.conf
	install -D -m 644 systemd/90-hither.preset $(d)/lib/systemd/system-preset/90-hither.preset
	install -D -m 755 systemd/hither-generator $(d)/lib/systemd/system-generators/hither-generator
	install -D -m 644 systemd/hither.catalog $(d)/lib/systemd/catalog/hither.catalog
	install -D -m 644 systemd/resolved.conf $(d)/share/hither/resolved.conf
	install -D -m 644 systemd/NetworkManager.conf $(d)/share/hither/NetworkManager.conf
	install -m 644 systemd/bridge.conf systemd/bridge.toml $(d)/share/hither/
	install -m 644 packaging/grafana/hither.json packaging/prometheus/hither.rules.yml $(d)/share/hither/
	install -d $(d)/share/bash-completion/completions $(d)/share/zsh/vendor-completions $(d)/share/fish/vendor_completions.d
	for program in $(completed); do $(bin)/hitherctl completions bash $$program > $(d)/share/bash-completion/completions/$$program \
		&& $(bin)/hitherctl completions zsh $$program > $(d)/share/zsh/vendor-completions/_$$program \
		&& $(bin)/hitherctl completions fish $$program > $(d)/share/fish/vendor_completions.d/$$program.fish || exit 1; done
	install -d $(d)/share/man/man1 $(d)/share/man/man3 $(d)/share/man/man5 $(d)/share/man/man7 $(d)/share/man/man8
	install -m 644 man/hitherctl.1 $(d)/share/man/man1/
	install -m 644 $(addprefix man/,$(man3)) $(d)/share/man/man3/
	install -m 644 $(addprefix man/,$(man5)) $(d)/share/man/man5/
	install -m 644 $(addprefix man/,$(man7)) $(d)/share/man/man7/
	install -m 644 $(addprefix man/,$(man8)) $(d)/share/man/man8/
	install -d $(d)/share/doc/hither
	install -m 644 README.md ARCHITECTURE.md LICENSE-MIT LICENSE-APACHE $(d)/share/doc/hither/
	for dir in . $(examples); do install -d $(d)/share/doc/hither/examples/$$dir; done
	install -m 644 packaging/examples/README.md $(d)/share/doc/hither/examples/
	for dir in $(examples); do install -m 644 packaging/examples/$$dir/*.* $(d)/share/doc/hither/examples/$$dir/ \
		&& install -m 755 packaging/examples/$$dir/changed $(d)/share/doc/hither/examples/$$dir/ || exit 1; done
	install -d $(DESTDIR)/etc/hither/changed.d
	test -e $(DESTDIR)/etc/hither/hither.toml || install -m 644 systemd/hither.toml $(DESTDIR)/etc/hither/hither.toml

uninstall:
	rm -f $(d)/sbin/hitherd $(d)/libexec/hither-sorter $(d)/libexec/hither-site $(d)/bin/hitherctl $(addprefix $(d)/lib/systemd/system/,$(units))
	rm -f $(addprefix $(d)/lib/sysusers.d/,hither.conf hither-site.conf) $(d)/lib/sysctl.d/50-hither.conf
	rm -f $(d)/lib/systemd/system-preset/90-hither.preset $(d)/lib/systemd/system-generators/hither-generator
	rm -f $(d)/share/man/man1/hitherctl.1
	rm -f $(addprefix $(d)/share/man/man3/,$(man3)) $(addprefix $(d)/share/man/man5/,$(man5)) $(addprefix $(d)/share/man/man7/,$(man7)) $(addprefix $(d)/share/man/man8/,$(man8))
	rm -f $(addprefix $(DESTDIR)$(LIBDIR)/,libnss_hither.so.2 libhither.so.1 libhither.so pkgconfig/hither.pc) $(d)/include/hither.h
	rm -f $(d)/lib/systemd/catalog/hither.catalog
	rm -f $(foreach p,$(completed),$(d)/share/bash-completion/completions/$p $(d)/share/zsh/vendor-completions/_$p $(d)/share/fish/vendor_completions.d/$p.fish)
	rm -rf $(d)/share/doc/hither $(d)/share/hither

# The Debian packages, in target/deb, their debug symbols below it; what is compiled already is not compiled again. What it takes is in
# debian/control.
debs = $(abspath $(CARGO_TARGET_DIR))/deb
deb_leftovers = $(addprefix debian/,.debhelper *.debhelper *.debhelper.log *.substvars debhelper-build-stamp files tmp hither hither-site libhither1 libhither-dev)

deb:
	dpkg-checkbuilddeps
	rm -rf $(debs) $(deb_leftovers)
	install -d $(debs)
	DEBS=$(debs) DEB_RULES_REQUIRES_ROOT=no debian/rules binary
	install -d $(debs)/symbols
	find $(debs) -maxdepth 1 -name '*-dbgsym_*' -exec mv -t $(debs)/symbols {} +
	rm -rf $(deb_leftovers)

# The checks of CI that need no root, in minutes.
check:
	.ci/run quick

.PHONY: all libraries install uninstall deb check
