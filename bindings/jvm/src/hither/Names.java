package hither;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;

/** The names that the table may have and that the system does not answer otherwise. */
final class Names {
    private static final long SECOND_NS = 1_000_000_000L;

    private record SystemFiles(long readNs, Set<String> hosts, int ndots) {}

    private static volatile SystemFiles files;

    private Names() {}

    /** False for addresses, localhost, multicast DNS, names in /etc/hosts, and those that the search list completes first. */
    static boolean mayBeInTable(String host) {
        if (host.length() > 254 || !host.matches("[A-Za-z0-9_][A-Za-z0-9_.-]*")) return false;
        String name = (host.endsWith(".") ? host.substring(0, host.length() - 1) : host).toLowerCase(Locale.ROOT);
        String last = name.substring(name.lastIndexOf('.') + 1);
        if (last.isEmpty() || last.equals("localhost") || last.equals("local") || last.matches("[0-9]+|0x.*")) return false;
        SystemFiles now = files();
        boolean isComplete = host.endsWith(".") || name.chars().filter(c -> c == '.').count() >= now.ndots;
        return isComplete && !now.hosts.contains(name);
    }

    /** Both files, read at most once a second. */
    private static SystemFiles files() {
        SystemFiles last = files;
        long now = System.nanoTime();
        if (last != null && now - last.readNs < SECOND_NS) return last;
        return files = new SystemFiles(now, hostsOf(text("/etc/hosts")), ndotsOf(text("/etc/resolv.conf") + "\noptions " + System.getenv("RES_OPTIONS")));
    }

    static Set<String> hostsOf(String text) {
        Set<String> hosts = new HashSet<>();
        for (String line : text.split("\n")) {
            String[] words = line.replaceFirst("#.*", "").trim().split("\\s+");
            for (int n = 1; n < words.length; n++) hosts.add(words[n].replaceFirst("\\.$", "").toLowerCase(Locale.ROOT));
        }
        return hosts;
    }

    static int ndotsOf(String text) {
        int ndots = 1;
        for (String line : text.split("\n")) {
            if (!line.startsWith("options")) continue;
            for (String word : line.split("\\s+")) if (word.matches("ndots:[0-9]{1,3}")) ndots = Integer.parseInt(word.substring(6));
        }
        return Math.max(ndots, 1);
    }

    private static String text(String path) {
        try {
            return Files.readString(Path.of(path), StandardCharsets.ISO_8859_1);
        } catch (IOException error) {
            return "";
        }
    }
}
