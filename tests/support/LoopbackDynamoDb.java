import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import java.lang.reflect.Field;
import org.eclipse.jetty.server.Connector;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

/**
 * DynamoDB Local on loopback alone; its own main class listens on every interface. Prints its port
 * once it answers, and ends with its standard input, so it does not outlive who started it.
 */
public final class LoopbackDynamoDb {
    public static void main(String[] arguments) throws Exception {
        DynamoDBProxyServer proxy = ServerRunner.createServerFromCommandLineArgs(arguments);
        Field field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        Connector connector = ((Server) field.get(proxy)).getConnectors()[0];
        ((ServerConnector) connector).setHost("127.0.0.1");
        ((ServerConnector) connector).setPort(0);
        proxy.start();
        System.out.println("listening on " + ((ServerConnector) connector).getLocalPort());
        while (System.in.read() >= 0) {
            // Nothing is written to it: only its end means something.
        }
        Runtime.getRuntime().halt(0);
    }
}
