package hither;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.net.spi.InetAddressResolver;
import java.net.spi.InetAddressResolverProvider;
import java.util.List;
import java.util.stream.Stream;

/** Has InetAddress read the table of hither first. What it does not have is left to the JVM's own resolver. */
public final class Provider extends InetAddressResolverProvider {
    /** The service loader makes one. */
    public Provider() {}

    @Override
    public String name() {
        return "hither";
    }

    @Override
    public InetAddressResolver get(Configuration configuration) {
        InetAddressResolver builtin = configuration.builtinResolver();
        try {
            return new Resolver(new Library(), builtin);
        } catch (IllegalArgumentException | IllegalCallerException error) {
            System.getLogger("hither").log(System.Logger.Level.WARNING, "hither is not used: " + error.getMessage());
            return builtin;
        }
    }

    private record Resolver(Library library, InetAddressResolver builtin) implements InetAddressResolver {
        @Override
        public Stream<InetAddress> lookupByName(String host, LookupPolicy policy) throws UnknownHostException {
            int how = policy.characteristics();
            int families = ((how & LookupPolicy.IPV4) != 0 ? 1 : 0) | ((how & LookupPolicy.IPV6) != 0 ? 2 : 0);
            List<InetAddress> found = Names.mayBeInTable(host) ? library.lookup(host, families) : null;
            // A denial is left to the builtin resolver too: the search list may complete the name.
            if (found == null || found.isEmpty()) return builtin.lookupByName(host, policy);
            int first = (how & LookupPolicy.IPV4_FIRST) != 0 ? 4 : (how & LookupPolicy.IPV6_FIRST) != 0 ? 16 : 0;
            return first == 0 ? found.stream() : found.stream().sorted((a, b) -> Boolean.compare(isOther(a, first), isOther(b, first)));
        }

        private static boolean isOther(InetAddress address, int octets) {
            return address.getAddress().length != octets;
        }

        @Override
        public String lookupByAddress(byte[] address) throws UnknownHostException {
            return builtin.lookupByAddress(address);
        }
    }
}
