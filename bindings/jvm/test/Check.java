import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.URI;
import java.net.UnknownHostException;
import java.util.Arrays;

/** Run beside a daemon whose table has these names already, by tests/bindings.rs or bindings/jvm/run-tests. */
class Check {
    static void isTrue(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static void fails(String host) throws Exception {
        try {
            throw new AssertionError(host + ": " + Arrays.toString(InetAddress.getAllByName(host)));
        } catch (UnknownHostException expected) {
            // As it should be.
        }
    }

    public static void main(String[] args) throws Exception {
        for (String host : new String[] {"none.example", "never.asked.example", "a..b", "münchen.example", "single"}) fails(host);
        String web = Arrays.toString(InetAddress.getAllByName("web.example"));
        isTrue(web.equals("[web.example/127.0.0.1, web.example/2001:db8:0:0:0:0:0:7]"), web);
        isTrue(InetAddress.getByName("WEB.example.").getHostAddress().equals("127.0.0.1"), "letter case");
        isTrue(InetAddress.getAllByName("many.example").length == 40, "forty addresses");
        isTrue(InetAddress.getByName("localhost").isLoopbackAddress(), "localhost");
        isTrue(InetAddress.getByName("192.0.2.1").getHostAddress().equals("192.0.2.1"), "an address");
        URI uri = URI.create("http://web.example:" + System.getenv("HITHER_TEST_PORT") + "/");
        HttpURLConnection connection = (HttpURLConnection) uri.toURL().openConnection();
        isTrue(new String(connection.getInputStream().readAllBytes()).equals("hello"), "the web server");
        System.out.println("jvm passes");
    }
}
