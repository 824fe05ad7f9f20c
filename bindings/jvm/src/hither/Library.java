package hither;

import static java.lang.foreign.SymbolLookup.*;
import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.net.InetAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.List;

/** libhither, see libhither(3) and hither.h. */
final class Library {
    private static final int ABI = 1, FRESH = 0, RANGE = 10, AF_INET = 2;
    private static final long TABLE_OCTETS = 2048, ENTRY_OCTETS = 136, ADDRESS_OCTETS = 28, BUFFER_OCTETS = 4096;
    private static final int ADDRESSES_MAX = 510;

    private final MethodHandle lookup, order;
    /** Of zeros: the table of the environment. Threads may use it at the same time. */
    private final MemorySegment table = Arena.global().allocate(TABLE_OCTETS, 8);

    /** Throws IllegalArgumentException where there is no libhither of this interface. */
    Library() {
        SymbolLookup library = libraryLookup("libhither.so.1", Arena.global());
        MethodHandle abi = function(library, "hither_abi", FunctionDescriptor.of(JAVA_INT));
        lookup = function(library, "hither_lookup",
            FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT, ADDRESS, ADDRESS, JAVA_LONG, ADDRESS));
        order = function(library, "hither_order", FunctionDescriptor.of(JAVA_LONG, ADDRESS, ADDRESS, JAVA_LONG));
        try {
            if ((int) abi.invokeExact() != ABI) throw new IllegalArgumentException("libhither has another interface");
        } catch (RuntimeException | Error error) {
            throw error;
        } catch (Throwable error) {
            throw new IllegalStateException(error);
        }
    }

    private static MethodHandle function(SymbolLookup library, String name, FunctionDescriptor shape) {
        MemorySegment symbol = library.find(name).orElseThrow(() -> new IllegalArgumentException("libhither has no " + name));
        return Linker.nativeLinker().downcallHandle(symbol, shape);
    }

    /** The addresses of a name in the order of the daemon's configuration, of the families 1 IPv4, 2 IPv6, 3 both; null without a fresh answer. */
    List<InetAddress> lookup(String host, int families) throws UnknownHostException {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment name = arena.allocateFrom(host), entry = arena.allocate(ENTRY_OCTETS, 8), needed = arena.allocate(JAVA_LONG);
            MemorySegment buffer = arena.allocate(BUFFER_OCTETS, 8);
            int found = (int) lookup.invokeExact(table, name, families, entry, buffer, buffer.byteSize(), needed);
            if (found == RANGE) {
                buffer = arena.allocate(needed.get(JAVA_LONG, 0), 8);
                found = (int) lookup.invokeExact(table, name, families, entry, buffer, buffer.byteSize(), needed);
            }
            return found == FRESH ? addresses(arena, host, entry, families) : null;
        } catch (UnknownHostException | RuntimeException | Error error) {
            throw error;
        } catch (Throwable error) {
            throw new IllegalStateException(error);
        }
    }

    private List<InetAddress> addresses(Arena arena, String host, MemorySegment entry, int families) throws Throwable {
        MemorySegment pointers = arena.allocate(MemoryLayout.sequenceLayout(ADDRESSES_MAX, ADDRESS));
        long count = Math.min((long) order.invokeExact(entry, pointers, (long) ADDRESSES_MAX), ADDRESSES_MAX);
        List<InetAddress> all = new ArrayList<>();
        for (long n = 0; n < count; n++) {
            MemorySegment one = pointers.getAtIndex(ADDRESS, n).reinterpret(ADDRESS_OCTETS);
            boolean isFour = one.get(JAVA_INT, 0) == AF_INET;
            if ((families & (isFour ? 1 : 2)) == 0) continue;
            all.add(InetAddress.getByAddress(host, one.asSlice(12, isFour ? 4 : 16).toArray(JAVA_BYTE)));
        }
        return all;
    }
}
