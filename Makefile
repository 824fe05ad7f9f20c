# make install DESTDIR= PREFIX=/usr: programs, units, users, manual pages and the default configuration.
PREFIX ?= /usr
DESTDIR ?=
CARGO_TARGET_DIR ?= target
bin = $(CARGO_TARGET_DIR)/release
programs = $(bin)/hitherd $(bin)/hither-sorter $(bin)/hitherctl
units = hitherd.socket hitherd.service hither-sorter.service
man8 = hitherd.8 hither-sorter.8
d = $(DESTDIR)$(PREFIX)

all: $(programs)

$(programs):
	cargo build --release --locked

install: $(programs)
	install -D -m 755 $(bin)/hitherd $(d)/sbin/hitherd
	install -D -m 755 $(bin)/hither-sorter $(d)/libexec/hither-sorter
	install -D -m 755 $(bin)/hitherctl $(d)/bin/hitherctl
	install -d $(d)/lib/systemd/system
	for unit in $(units); do sed 's|@PREFIX@|$(PREFIX)|g' systemd/$$unit > $(d)/lib/systemd/system/$$unit; chmod 644 $(d)/lib/systemd/system/$$unit; done
	install -D -m 644 systemd/hither.sysusers $(d)/lib/sysusers.d/hither.conf
	install -D -m 644 systemd/hither.sysctl $(d)/lib/sysctl.d/50-hither.conf
	install -D -m 644 systemd/10-reload.conf $(d)/share/doc/hither/10-reload.conf
	install -d $(d)/share/man/man1 $(d)/share/man/man5 $(d)/share/man/man8
	install -m 644 man/hitherctl.1 $(d)/share/man/man1/
	install -m 644 man/hither.toml.5 $(d)/share/man/man5/
	install -m 644 $(addprefix man/,$(man8)) $(d)/share/man/man8/
	install -m 644 README.md ARCHITECTURE.md LICENSE-MIT LICENSE-APACHE $(d)/share/doc/hither/
	install -d $(DESTDIR)/etc/hither
	test -e $(DESTDIR)/etc/hither/hither.toml || install -m 644 systemd/hither.toml $(DESTDIR)/etc/hither/hither.toml

uninstall:
	rm -f $(d)/sbin/hitherd $(d)/libexec/hither-sorter $(d)/bin/hitherctl $(addprefix $(d)/lib/systemd/system/,$(units))
	rm -f $(d)/lib/sysusers.d/hither.conf $(d)/lib/sysctl.d/50-hither.conf $(d)/share/man/man1/hitherctl.1
	rm -f $(d)/share/man/man5/hither.toml.5 $(addprefix $(d)/share/man/man8/,$(man8))
	rm -rf $(d)/share/doc/hither

.PHONY: all install uninstall
